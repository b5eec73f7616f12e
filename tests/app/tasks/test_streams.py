"""What many streams of events share, and what each of them costs."""

import threading
import time
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from sqlalchemy import event, select

from app.db import Task, TaskEvent, TaskState, read_session, write_session
from app.errors import BusyProblem
from app.main import create_app
from app.tasks import feed, streams, telling
from tests.app.tasks.posting import post
from tests.app.tasks.reading import PATIENCE, events, eventually, following, tell
from tests.fixtures.processes import serving


def test_one_look_at_the_database_serves_all_who_watch(service, engine, task_id):
    looks = []
    with serving(service) as url, ExitStack() as stack:
        here = service.state.services.engine
        for _ in range(12):
            stack.enter_context(following(url, task_id))
        event.listen(
            here,
            "before_cursor_execute",
            lambda *a: looks.append(a[2]) if "task_events" in a[2] else None,
        )
        began = time.monotonic()
        eventually(lambda: len(looks) >= 4)
        assert len(looks) <= (time.monotonic() - began) / streams.POLL_SECONDS + 2


def test_who_comes_late_gets_the_epochs_so_far_and_the_present_state(served, engine, task_id):
    tell(engine, task_id, "state", TaskState.TRAINING)
    for epoch in (1, 2):
        for step in (1, 2, 3):
            tell(engine, task_id, "progress", epoch=epoch, step=step)
        tell(engine, task_id, "epoch", epoch=epoch)
    tell(engine, task_id, "progress", epoch=3, step=1)
    tell(engine, task_id, "progress", epoch=3, step=2)
    with served.stream("GET", f"/tasks/{task_id}/events") as answer:
        told = events(answer)
        found = [next(told)[1:] for _ in range(5)]
        assert [(kind, d.get("state") or (d["epoch"], d.get("step"))) for kind, d in found] == [
            ("task.state", "queued"),
            ("task.state", "running"),
            ("task.epoch", (1, None)),
            ("task.epoch", (2, None)),
            ("task.progress", (3, 2)),
        ]
        tell(engine, task_id, "progress", epoch=3, step=3)
        number, kind, data = next(told)
        assert (kind, data["step"]) == ("task.progress", 3)
    tell(engine, task_id, "epoch", epoch=3)
    headers = {"Last-Event-ID": str(number)}
    with served.stream("GET", f"/tasks/{task_id}/events", headers=headers) as answer:
        assert next(events(answer))[1:2] == ("task.epoch",)


def test_who_was_too_slow_for_what_is_kept_misses_nothing(served, engine, task_id, monkeypatch):
    monkeypatch.setattr(feed, "KEPT_EVENTS", 1)
    with served.stream("GET", f"/tasks/{task_id}/events") as answer:
        told = events(answer)
        next(told)
        with write_session(engine) as session:
            for epoch in range(5):
                session.add(TaskEvent(task_id=task_id, kind="epoch", data={"epoch": epoch}))
        tell(engine, task_id, "state", TaskState.FAILED)
        assert [d.get("epoch") for _, _, d in told] == [0, 1, 2, 3, 4, None]


@contextmanager
def held_before_commit(engine):
    """Holds the first transaction that is about to commit: yields when it is, and what frees it."""
    held, free = threading.Event(), threading.Event()

    def hold(_connection) -> None:
        if not held.is_set():
            held.set()
            assert free.wait(PATIENCE)

    event.listen(engine, "commit", hold)
    try:
        yield held, free
    finally:
        free.set()
        event.remove(engine, "commit", hold)


@pytest.mark.races
@pytest.mark.parametrize("path", ["/events", "/tasks/{task}/events"])
def test_no_event_is_lost_where_two_transactions_write_at_once(served, engine, task_id, pets, path):
    """The one that has the lower id is held open, while the other one would like to commit."""
    other = task_id if "task" in path else post(served, pets, {"model": "other"}).json()["id"]
    seen: list[int] = []

    def read() -> None:
        at = path.format(task=task_id)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "0"}
        with served.stream("GET", at, headers=headers) as answer:
            for number, _, data in events(answer):
                seen.append(number)
                if data.get("state") == "cancelled":
                    return

    def warn(task) -> None:
        with write_session(engine) as session:
            session.execute(select(Task.id).where(Task.id == task).with_for_update())
            telling.tell(session, task, "warning", {"message": "at once"})

    before = len(served.get("/events").json()["items"])
    threads = [threading.Thread(target=warn, args=(task,)) for task in (task_id, other)]
    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: len(seen) == before)
    with held_before_commit(engine) as (held, free):
        threads[0].start()
        assert held.wait(PATIENCE)
        threads[1].start()
        threads[1].join(1.5)
        waits = threads[1].is_alive()
        if not waits:
            eventually(lambda: len(seen) > before)  # it has the higher id, and is read first
        free.set()
        for thread in threads:
            thread.join(PATIENCE)
    tell(engine, task_id, "state", TaskState.CANCELLED)
    reader.join(PATIENCE)
    with read_session(engine) as session:
        told = session.scalars(select(TaskEvent.id).order_by(TaskEvent.id)).all()
    assert waits, "ids are committed in the order in which they are given"
    assert seen == list(told)
    assert len(seen) == before + 3


def test_streams_are_bounded_and_a_client_that_leaves_makes_room(settings, task_id):
    app = create_app(settings.model_copy(update={"serve_streams": 2}))
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        seats = app.state.services.streams
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(following(url, task_id))
            refused = client.get(f"/tasks/{task_id}/events")
            assert (refused.status_code, refused.json()["type"]) == (
                503,
                "urn:sats:problem:overloaded",
            )
            assert int(refused.headers["retry-after"]) > 0
            assert seats.open == 2
        eventually(lambda: seats.open == 0)
        assert not seats._feeds, "nobody watches, so nobody looks"
        with following(url, task_id):
            assert seats.open == 1


def test_a_database_that_is_gone_for_a_while_ends_no_stream(service, engine, task_id, monkeypatch):
    from sqlalchemy.exc import OperationalError

    down = threading.Event()
    failed = threading.Event()

    def fail(*_a) -> None:
        if down.is_set():
            failed.set()
            raise OperationalError("SELECT", {}, Exception("the server is gone"))

    with serving(service) as url, following(url, task_id) as told:
        event.listen(service.state.services.engine, "before_cursor_execute", fail)
        down.set()
        assert failed.wait(PATIENCE)
        down.clear()
        tell(engine, task_id, "state", TaskState.CANCELLED)
        assert [data["state"] for _, _, data in told] == ["cancelled"]


def test_one_key_holds_a_part_of_the_streams(settings):
    seats = streams.Streams(engine=None, most=8)
    with seats.seat("one"), seats.seat("one"):
        with pytest.raises(BusyProblem), seats.seat("one"):
            pass
        with seats.seat("other"):
            assert seats.open == 3
    with seats.seat("one"):
        assert seats.open == 1
