"""`/events` as a stream: of all tasks that a caller sees, from now on or from a place on."""

import json
import time
from contextlib import ExitStack, contextmanager
from itertools import islice

import httpx
import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from app.db import Task, TaskEvent, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key, revoke_key
from app.main import create_app
from app.tasks import feed, streams
from tests.app.tasks.posting import post
from tests.fixtures.processes import serving

PATIENCE = 30


def tell(engine, task_id, *messages):
    with write_session(engine) as session:
        for message in messages:
            data = {"message": message}
            session.add(TaskEvent(task_id=task_id, kind="warning", data=data))


def eventually(holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@contextmanager
def watching(url, headers=None, **params):
    """Open the stream; yields an iterator over its events, and the lines behind it."""
    headers = {"Accept": "text/event-stream"} | (headers or {})
    with httpx.stream(
        "GET", f"{url}/events", headers=headers, params=params, timeout=PATIENCE
    ) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: ")), lines


@pytest.fixture
def tasks(client, engine, pets):
    """Two tasks of two models."""
    return [post(client, pets, {"model": name}).json()["id"] for name in ("one", "two")]


def seen(service, number=1):
    """Wait until so many watch: what is told from then on, they are told."""
    watched = service.state.services.streams
    eventually(
        lambda: (
            watched.open == number
            and watched._feeds.get(None)
            and watched._feeds[None][0].newest is not None
        )
    )


def messages(told, count):
    return [(one["model"], one["data"]["message"]) for one in islice(told, count)]


def test_events_of_all_tasks_come_as_they_happen(service, engine, tasks):
    with serving(service) as url, watching(url) as (told, _):
        seen(service)
        tell(engine, tasks[0], "a")
        tell(engine, tasks[1], "b")
        tell(engine, tasks[0], "c")
        assert messages(told, 3) == [("one", "a"), ("two", "b"), ("one", "c")]


def test_a_stream_begins_where_it_was_left(service, engine, tasks):
    tell(engine, tasks[0], "a", "b")
    with serving(service) as url:
        items = httpx.get(f"{url}/events").json()["items"]
        for how in (
            {"headers": {"Last-Event-ID": items[1]["id"]}},
            {"after": items[1]["id"]},
            {"after": items[0]["id"], "headers": {"Last-Event-ID": items[1]["id"]}},
        ):
            with watching(url, **how) as (told, _):
                assert [next(told), next(told)] == items[2:]
        with watching(url, after=0) as (told, _):
            assert [next(told) for _ in items] == items


def test_a_stream_is_narrowed(service, engine, tasks):
    with (
        serving(service) as url,
        watching(url, model="two") as (of_model, _),
        watching(url, task=tasks[0], type="task.warning", after=0) as (of_task, _),
        watching(url, type="task.epoch") as (epochs, _),
    ):
        seen(service, 3)
        tell(engine, tasks[0], "a")
        tell(engine, tasks[1], "b")
        with write_session(engine) as session:
            session.add(TaskEvent(task_id=tasks[0], kind="epoch", data={"epoch": 1}))
        assert messages(of_model, 1) == [("two", "b")]
        assert messages(of_task, 1) == [("one", "a")]
        assert next(epochs)["data"]["epoch"] == 1


def test_one_look_serves_all_who_watch(service, engine, tasks):
    looks = []
    with serving(service) as url, ExitStack() as stack:
        told = [stack.enter_context(watching(url))[0] for _ in range(6)]
        seen(service, 6)
        event.listen(
            service.state.services.engine,
            "before_cursor_execute",
            lambda *a: looks.append(a[2]) if "task_events" in a[2] else None,
        )
        assert len(service.state.services.streams._feeds) == 1
        tell(engine, tasks[0], "a")
        assert [messages(one, 1) for one in told] == [[("one", "a")]] * 6
        before = len(looks)
        eventually(lambda: len(looks) >= before + 4)
        assert len(set(looks)) == 1


def test_who_was_too_slow_for_what_is_kept_misses_nothing(service, engine, tasks, monkeypatch):
    monkeypatch.setattr(feed, "KEPT_EVENTS", 1)
    monkeypatch.setattr(streams, "BATCH", 3)
    with serving(service) as url, watching(url, model="one") as (told, _):
        seen(service)
        with write_session(engine) as session:  # one look finds all of them
            for number in range(20):
                for task in tasks:
                    data = {"message": str(number)}
                    session.add(TaskEvent(task_id=task, kind="warning", data=data))
        assert messages(told, 20) == [("one", str(number)) for number in range(20)]


def test_kinds_that_a_newer_worker_writes_are_passed_over(service, engine, tasks):
    with serving(service) as url, watching(url) as (told, _):
        seen(service)
        for task in tasks:
            with write_session(engine) as session:
                session.add(TaskEvent(task_id=task, kind="dream", data={"of": "sheep"}))
            tell(engine, task, "awake")
        assert messages(told, 2) == [("one", "awake"), ("two", "awake")]
        page = httpx.get(f"{url}/events")
        assert page.status_code == 200
        with watching(url, after=0) as (again, _):
            assert [next(again) for _ in range(4)] == page.json()["items"]
        answer = httpx.get(f"{url}/tasks/{tasks[0]}/events", headers={"Accept": "application/json"})
        assert [one["type"] for one in answer.json()["items"]] == ["task.state", "task.warning"]


def test_an_event_that_cannot_be_told_is_logged_and_ends_the_stream(service, engine, tasks):
    with serving(service) as url, capture_logs() as logs, watching(url) as (told, _):
        seen(service)
        with write_session(engine) as session:
            session.add(TaskEvent(task_id=tasks[0], kind="state", data={"state": "dreaming"}))
        assert list(told) == []
    assert "events_not_told" in [line["event"] for line in logs]


def test_what_others_hear_keeps_no_stream_from_saying_that_it_is_there(
    service, engine, tasks, monkeypatch
):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.2)
    with serving(service) as url, watching(url, model="two") as (_, lines):
        seen(service)
        tell(engine, tasks[0], *("noise" for _ in range(50)))
        assert next(line for line in lines if line).startswith(":")


@pytest.fixture
def keys(engine, settings, tasks):
    """Keys that submit, and one of an admin; the first task is the first key's."""
    made = {}
    with write_session(engine) as session:
        for name in ("ann", "bob"):
            key = create_key(session, read_secret(settings), name, [Scope.SUBMIT])
            made[name] = {"Authorization": f"Bearer {key}"}
        session.get_one(Task, tasks[0]).key_id = 1
        key = create_key(session, read_secret(settings), "root", [Scope.ADMIN])
        made["root"] = {"Authorization": f"Bearer {key}"}
    return made


def test_a_key_hears_of_its_own_tasks_alone(service, engine, tasks, keys):
    with (
        serving(service) as url,
        watching(url, keys["ann"], after=0) as (anns, _),
        watching(url, keys["bob"]) as (bobs, _),
        watching(url, keys["root"]) as (all_of_them, _),
    ):
        seen(service, 3)
        assert next(anns)["task"] == tasks[0]
        tell(engine, tasks[1], "nobody's")
        tell(engine, tasks[0], "ann's")
        assert messages(anns, 1) == [("one", "ann's")]
        assert messages(all_of_them, 2) == [("two", "nobody's"), ("one", "ann's")]
        with write_session(engine) as session:
            session.get_one(Task, tasks[1]).key_id = 2
        tell(engine, tasks[1], "bob's by now")
        assert messages(bobs, 1) == [("two", "bob's by now")]


def test_a_stream_ends_with_its_key(service, engine, tasks, keys, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.1)
    with serving(service) as url, watching(url, keys["root"]) as (told, _):
        seen(service)
        with write_session(engine) as session:
            revoke_key(session, "root")
        service.state.services.callers.clear()
        assert list(told) == []
        eventually(lambda: service.state.services.streams.open == 0)


def test_streams_are_bounded(settings, tasks):
    app = create_app(settings.model_copy(update={"serve_streams": 1}))
    with serving(app) as url, watching(url):
        asked = {"Accept": "text/event-stream"}
        assert httpx.get(f"{url}/events", headers=asked).status_code == 503
        assert httpx.get(f"{url}/events").status_code == 200, "a page is no stream"
