"""Who trains and on what, over HTTP; and what a task that waits says of it."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from app.db import DeviceKind, Task, Worker, database_now, utc_now, write_session
from app.registry.service import ensure_model
from app.workers.needs import Resources
from tests.app.tasks.posting import drawn, post
from tests.fixtures.statements import Statements
from worker.claim import claim
from worker.device import Device
from worker.presence import Presence

CPU = Device("A processor", 1, Resources(DeviceKind.CPU, 16_000))
GPU = Device("NVIDIA X", 2, Resources(DeviceKind.CUDA, 24_000))


@pytest.fixture
def come(engine):
    """A worker comes."""

    def one(name: str, device: Device = CPU) -> Presence:
        made = Presence(engine, name, "1.2.3", device, 60.0)
        made.beat()
        return made

    return one


@pytest.fixture
def pets(tmp_path):
    return drawn(tmp_path, "cat", "dog")


def lose(engine, name):
    with write_session(engine) as session:
        gone = database_now() - 1
        session.execute(update(Worker).where(Worker.name == name).values(alive_until=gone))


def run(engine, worker, name="sheep", model="default"):
    """A worker takes a task."""
    with write_session(engine) as session:
        task = Task(
            model=ensure_model(session, model),
            spec={"name": name},
            dataset="0" * 64,
            dataset_bytes=1,
            request_digest="",
        )
        session.add(task)
        session.flush()
        assert claim(session, task.id, worker, 60.0) is not None
        return task.id


def test_who_was_seen_at_a_time_to_come_is_seen_again_or_lost(client, come, engine):
    """The database's clock was set back since."""
    lives = come("a:1")
    come("b:2")
    later = utc_now() + timedelta(days=365)
    with write_session(engine) as session:
        ahead = {"alive_until": database_now() + 365 * 86400, "seen_at": later}
        session.execute(update(Worker).values(ahead))
    lives.beat()
    items = client.get("/admin/workers").json()["items"]
    assert [(one["name"], one["alive"]) for one in items] == [("b:2", False), ("a:1", True)]


def test_nobody_is_there(client):
    assert client.get("/admin/workers").json() == {"items": [], "next_cursor": None}


def test_workers_are_told_with_what_they_have_and_do(client, come, engine):
    come("a:1")
    come("b:2", GPU)
    come("c:3")
    lose(engine, "c:3")
    task_id = run(engine, "b:2")
    items = client.get("/admin/workers").json()["items"]
    assert [(one["name"], one["alive"]) for one in items] == [
        ("c:3", False),
        ("b:2", True),
        ("a:1", True),
    ]
    assert items[1] == {
        "name": "b:2",
        "host": "b",
        "pid": 2,
        "alive": True,
        "task": {"id": task_id, "name": "sheep", "model": "default"},
        "device": "cuda",
        "device_name": "NVIDIA X",
        "devices": 2,
        "memory_mib": 24_000,
        "version": "1.2.3",
        "started_at": items[1]["started_at"],
        "seen_at": items[1]["seen_at"],
    }
    assert items[0]["task"] is None


def test_workers_come_by_the_page_in_one_statement(client, come, service):
    for number in range(5):
        come(f"host:{number}")
    seen, cursor = [], None
    while True:
        asked = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        with Statements(service.state.services.engine) as sent:
            page = client.get("/admin/workers", params=asked).json()
        assert len([one for one in sent.seen if "workers" in one[0]]) == 1
        seen += [one["pid"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [4, 3, 2, 1, 0]
    assert client.get("/admin/workers?cursor=x").status_code == 422


def test_a_worker_that_holds_two_tasks_is_told_once_with_the_one_it_took_last(client, come, engine):
    """The lease of the first has run out, nobody has taken it back yet."""
    come("a:1")
    come("b:2")
    before = run(engine, "b:2")
    with write_session(engine) as session:
        late = update(Task).where(Task.id == before)
        session.execute(late.values(lease_until=database_now() - 1))
    task_id = run(engine, "b:2", model="other")
    items = client.get("/admin/workers").json()["items"]
    assert [(one["name"], (one["task"] or {}).get("id")) for one in items] == [
        ("b:2", task_id),
        ("a:1", None),
    ]
    page = client.get("/admin/workers?limit=1").json()
    assert [one["name"] for one in page["items"]] == ["b:2"]
    page = client.get("/admin/workers", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert ([one["name"] for one in page["items"]], page["next_cursor"]) == (["a:1"], None)


def test_the_overview_and_the_first_page_say_who_is_idle(client, come, engine):
    assert "No worker is alive" in client.get("/").text
    come("a:1")
    come("b:2")
    come("c:3")
    lose(engine, "c:3")
    run(engine, "b:2")
    workers = client.get("/admin/overview").json()["workers"]
    assert workers == {"busy": ["b:2"], "lost": [], "idle": ["a:1"], "restarts": None}
    home = client.get("/").text
    assert "b:2 works" in home
    assert "1 worker waits for a task" in home
    assert "No worker is alive" not in home


def test_a_task_says_which_worker_is_missing(client, come, engine, pets):
    any_id = post(client, pets).json()["id"]
    gpu_id = post(client, pets, {"model": "b", "device": "cuda"}).json()["id"]

    def missing():
        listed = {one["id"]: one["waiting_for"] for one in client.get("/tasks").json()["items"]}
        for task_id, said in listed.items():
            assert client.get(f"/tasks/{task_id}").json()["waiting_for"] == said
            page = client.get(f"/ui/tasks/{task_id}").text
            assert ("It waits:" in page) == (said is not None)
            assert said is None or said in page
        return listed[any_id], listed[gpu_id]

    assert missing() == ("no worker is alive", "no worker is alive")
    come("a:1")
    assert missing() == (None, "no worker with a GPU is alive")
    come("b:2", GPU)
    assert missing() == (None, None)
    lose(engine, "b:2")
    assert missing() == (None, "no worker with a GPU is alive")
    with write_session(engine) as session:
        assert claim(session, any_id, "a:1", 60.0) is not None
    client.post(f"/tasks/{gpu_id}:cancel")
    assert missing() == (None, None), "what does not wait waits for nobody"


def test_who_waits_behind_another_task_says_what_that_one_lacks(client, come, pets):
    come("a:1")
    first = post(client, pets, {"device": "cuda"}).json()["id"]
    behind = post(client, pets, {"name": "behind"}).json()["id"]
    lacking = "no worker with a GPU is alive"
    for told in (
        {one["id"]: one for one in client.get("/tasks").json()["items"]},
        {one: client.get(f"/tasks/{one}").json() for one in (first, behind)},
    ):
        assert told[first]["waiting_for"] == lacking
        assert told[behind]["waiting_for"] == f"{lacking}, which the first task of its model needs"
    client.post(f"/tasks/{first}:cancel")
    assert client.get(f"/tasks/{behind}").json()["waiting_for"] is None


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"device": "tpu"}, "spec.device"),
        ({"device": "cuda:1"}, "spec.device"),
        ({"min_memory_mib": 0}, "spec.min_memory_mib"),
        ({"priority": 101}, "spec.priority"),
        ({"priority": -101}, "spec.priority"),
    ],
)
def test_needs_that_cannot_be_are_refused(client, pets, spec, field):
    refused = post(client, pets, spec)
    assert refused.status_code == 422
    assert [one["field"] for one in refused.json()["errors"]] == [field]


def test_needs_are_told_as_posted(client, pets):
    spec = {"device": "cuda", "min_memory_mib": 8_000, "priority": 3}
    told = post(client, pets, spec).json()["spec"]
    assert spec.items() <= told.items()
    told = post(client, pets, {"model": "b"}).json()["spec"]
    assert (told["device"], told["min_memory_mib"], told["priority"]) == ("any", None, 0)
