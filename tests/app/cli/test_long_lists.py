"""What has happened to a long task, and how a long line of versions scores: read to the end."""

import asyncio
import json
import re

import pytest
from sqlalchemy import func, insert, select

from app.db import Task, TaskEvent, TaskState, Version, read_session, write_session
from sats_client import AsyncClient, Client
from tests.app.cli.conftest import printed
from tests.app.storage.rows import add_task
from tests.fixtures.versions import add_version

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

EPOCHS, STEPS, VERSIONS = 1000, 5000, 2100


@pytest.fixture
def task_id(engine):
    """A task that trains: every fifth of its steps was the last of an epoch."""
    with write_session(engine) as session:
        task = add_task(session, "0" * 64, TaskState.TRAINING)
        rows = []
        for step in range(1, STEPS + 1):
            at = {"phase": "training", "epoch": -(-step // 5), "step": step, "steps": STEPS}
            rows.append({"kind": "progress", "data": {**at, "epochs": EPOCHS, "losses": {}}})
            if step % 5 == 0:
                losses = {"cross_entropy": 1 / step}
                rows.append({"kind": "epoch", "data": {"epoch": step // 5, "losses": losses}})
        session.execute(insert(TaskEvent), [{"task_id": task.id, **row} for row in rows])
        return task.id


@pytest.fixture
def url(served):
    return str(served.base_url)


def test_a_task_s_curves_and_its_progress_are_read_by_the_page(served, task_id):
    for kind, count in (("task.epoch", EPOCHS), ("task.progress", STEPS)):
        found, asked, query = [], 0, {"type": kind, "limit": 500}
        while query:
            answer = served.get(
                f"/tasks/{task_id}/events", params=query, headers={"Accept": "application/json"}
            )
            page = answer.json()
            found += page["items"]
            asked += 1
            following = page["next_cursor"]
            query = {"type": kind, "limit": 500, "cursor": following} if following else None
        assert (len(found), asked) == (count, count // 500)
        places = [one["data"].get("step") or one["data"]["epoch"] for one in found]
        assert places == list(range(1, count + 1))


def test_both_clients_read_them(url, task_id):
    async def asked() -> list[int]:
        async with AsyncClient(url, "") as client:
            task = await client.task(task_id)
            return [one.data["epoch"] async for one in task.events("task.epoch")]

    with Client(url, "") as client:
        task = client.task(task_id)
        assert [one.data["epoch"] for one in task.events("task.epoch")] == [*range(1, EPOCHS + 1)]
        assert sum(1 for _ in task.events()) == EPOCHS + STEPS
    assert asyncio.run(asked()) == [*range(1, EPOCHS + 1)]


def test_the_command_prints_them(run, url, task_id):
    words = ("events", task_id, "--url", url)
    lines = printed(run(*words, "--type", "task.progress", "-o", "jsonl")).splitlines()
    assert [json.loads(line)["data"]["step"] for line in lines] == [*range(1, STEPS + 1)]
    epochs = json.loads(printed(run(*words, "--type", "task.epoch", "--json")))
    assert len(epochs) == EPOCHS
    assert epochs[-1]["data"]["losses"] == {"cross_entropy": 1 / STEPS}
    table = printed(run(*words, "--type", "task.epoch")).splitlines()
    assert table[0].split() == ["id", "at", "type", "data"]
    assert len(table) == EPOCHS + 1
    wrong = run(*words, "--type", "colour")
    assert (wrong.exit_code, printed(wrong)) == (4, "")
    assert "query.type" in wrong.stderr


def test_the_page_draws_all_of_them(served, task_id):
    page = served.get(f"/ui/tasks/{task_id}").text
    drawn = re.search(r'data-chart="losses".*?<script[^>]*>(.*?)</script>', page, re.DOTALL)
    assert [one["epoch"] for one in json.loads(drawn[1])] == [*range(1, EPOCHS + 1)]


@pytest.fixture
def line(engine, blobs):
    """A line of versions that is longer than two answers."""
    with write_session(engine) as session:
        first = add_version(session, blobs, ["cat"])
        task = session.get_one(Task, first.task_id)
        copied = [one.name for one in Task.__table__.columns if one.name not in ("id", "sequence")]
        tasks = [{name: getattr(task, name) for name in copied} for _ in range(VERSIONS - 1)]
        last = session.scalar(select(func.max(Task.sequence)))
        for number, row in enumerate(tasks, 2):
            row |= {"id": f"00000000-0000-4000-8000-{number:012}", "version_id": None}
            row |= {"sequence": last + number}
        session.execute(insert(Task), tasks)
        kept = [one.name for one in Version.__table__.columns if one.name != "id"]
        row = {name: getattr(first, name) for name in kept}
        session.execute(
            insert(Version),
            [row | {"number": number, "task_id": one["id"]} for number, one in enumerate(tasks, 2)],
        )


@pytest.mark.usefixtures("line")
def test_a_long_line_s_curve_is_read_to_its_first_version(run, served, url, engine):
    page = served.get("/ui/models/default/curves").text
    assert "The newest 100 versions" in page, "what is not drawn is told"
    wanted = [*range(VERSIONS, 0, -1)]
    with Client(url, "") as client:
        found = list(client.curve())
    assert [one.version for one in found] == wanted
    assert [one.version for one in found if one.live] == [1]
    assert (found[0].iou["cat"], found[0].miou_new) == (0.8, 0.7)
    lines = printed(run("curve", "--url", url, "-o", "jsonl")).splitlines()
    assert [json.loads(line)["version"] for line in lines] == wanted
    table = printed(run("curve", "default", "--url", url)).splitlines()
    assert table[0].split()[:4] == ["version", "live", "classes", "mIoU"]
    assert table[-1].split()[:4] == ["1", "yes", "1", "0.750"]
    with read_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(Version)) == VERSIONS
    nobody = run("curve", "nobody", "--url", url)
    assert (nobody.exit_code, printed(nobody)) == (4, "")
