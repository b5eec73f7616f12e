"""What many streams of events share, and what each of them costs."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psutil
import pytest
from sqlalchemy import event, select
from starlette.testclient import TestClient

from app.db import Task, TaskEvent, TaskState, read_session, write_session
from app.errors import BusyProblem
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key, revoke_key
from app.main import create_app
from app.tasks import feed, streams, telling, tokens
from tests.app.tasks.posting import post
from tests.fixtures.processes import environment, serving

PATIENCE = 60


def tell(engine, task_id, kind, state=None, **data):
    with write_session(engine) as session:
        if state is not None:
            session.get_one(Task, task_id).state = state
            data["state"] = state
        session.add(TaskEvent(task_id=task_id, kind=kind, data=data))


def events(answer) -> Iterator[tuple[int, str, dict]]:
    """Yield the events of a stream as they come."""
    told = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            told[name] = value
        elif "event" in told:
            yield int(told["id"]), told["event"], json.loads(told["data"])["data"]
            told = {}


@contextmanager
def following(url, task_id):
    """Follow a task and take its first event; whoever forgets the iterator hangs up."""
    with httpx.stream("GET", f"{url}/tasks/{task_id}/events", timeout=PATIENCE) as answer:
        told = events(answer)
        next(told)
        yield told


def eventually(holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def task_id(settings, pets):
    """A task, posted to a service that is gone again."""
    with TestClient(create_app(settings), "http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        return post(client, pets).json()["id"]


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


@pytest.fixture
def key(engine, settings):
    with write_session(engine) as session:
        # An admin sees tasks that were posted without a key.
        return create_key(session, read_secret(settings), "eva", [Scope.ADMIN])


def test_a_browser_follows_one_task_with_a_token(client, engine, task_id, key, monkeypatch):
    tell(engine, task_id, "state", TaskState.FAILED)
    bearer = {"Authorization": f"Bearer {key}"}
    made = client.post(f"/tasks/{task_id}/events/token", headers=bearer)
    assert made.headers["cache-control"] == "no-store"
    body = made.json()
    with client.stream("GET", body["url"]) as answer:
        assert [data["state"] for _, _, data in events(answer)] == ["queued", "failed"]

    def status(token, path=f"/tasks/{task_id}/events", **headers):
        return client.get(path, params={"token": token}, headers=headers).status_code

    ends, holder, signature = body["token"].split(".")
    secret = read_secret(client.app.state.services.settings)
    stranger = tokens.make_token(b"another secret", task_id, holder)[0]
    of_another = tokens.make_token(secret, "another", holder)[0]
    longer = f"{int(ends) + 1}.{holder}.{signature}"
    keyless = f"{ends}..{signature}"
    odd = ("", "x", ends, f"{ends}.", "\u0661..x", "-1..x", f"{body['token']}.")
    for wrong in (*odd, longer, keyless, stranger, of_another):
        assert status(wrong) == 401, wrong
    assert status("x" * 201) == 422
    assert status(body["token"], f"/tasks/{task_id}") == 401, "it opens the events alone"
    assert status(body["token"], Authorization="Bearer sats_wrong") == 401
    with write_session(engine) as session:
        revoke_key(session, "eva")
    client.app.state.services.callers.clear()
    assert status(body["token"]) == 401, "its key was revoked"
    now = time.time()
    monkeypatch.setattr(tokens.time, "time", lambda: now + tokens.TOKEN_SECONDS + 1)
    assert status(body["token"]) == 401, "it has ended"


def test_a_stream_ends_with_its_key(service, engine, task_id, key, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.1)
    bearer = {"Authorization": f"Bearer {key}"}
    with serving(service) as url:
        path = f"{url}/tasks/{task_id}/events"
        token = httpx.post(f"{path}/token", headers=bearer).json()["url"]
        with ExitStack() as stack:
            opened = [
                stack.enter_context(httpx.stream("GET", at, headers=headers, timeout=PATIENCE))
                for at, headers in ((path, bearer), (url + token, {}))
            ]
            told = [events(answer) for answer in opened]
            assert [next(one)[1] for one in told] == ["task.state", "task.state"]
            with write_session(engine) as session:
                revoke_key(session, "eva")
            service.state.services.callers.clear()
            eventually(lambda: service.state.services.streams.open == 0)


def test_one_key_holds_a_part_of_the_streams(settings):
    seats = streams.Streams(engine=None, most=8)
    with seats.seat("one"), seats.seat("one"):
        with pytest.raises(BusyProblem), seats.seat("one"):
            pass
        with seats.seat("other"):
            assert seats.open == 3
    with seats.seat("one"):
        assert seats.open == 1


def test_a_token_takes_the_seats_of_its_key(settings, task_id, key):
    bearer = {"Authorization": f"Bearer {key}"}
    app = create_app(settings.model_copy(update={"serve_streams": 4}))
    with serving(app) as url:
        path = f"{url}/tasks/{task_id}/events"
        token = httpx.post(f"{path}/token", headers=bearer).json()["url"]
        with httpx.stream("GET", path, headers=bearer, timeout=PATIENCE):
            assert httpx.get(url + token).status_code == 503


def test_a_token_of_a_task_that_there_is_not(client):
    missing = "00000000-0000-4000-8000-000000000000"
    assert client.post(f"/tasks/{missing}/events/token").status_code == 404


@contextmanager
def api(settings, log):
    """A real process of the API; yields it and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "api", "--port", str(port)],
            env=os.environ | environment(settings),
            stdout=out,
            stderr=out,
        )
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def open_and_drop(port, path, count):
    """Open streams, read the beginning of each, and leave without a word."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            opened.append(one)
        for one in opened:
            assert one.recv(65536).startswith(b"HTTP/1.1 200")


def test_200_dropped_streams_leave_nothing_behind(settings, task_id, tmp_path):
    bounded = settings.model_copy(update={"serve_streams": 200})
    log = tmp_path / "api.log"
    with api(bounded, log) as (process, port):
        at = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{at}/health/live").status_code == 200
            except httpx.ConnectError:
                return False

        eventually(answers)
        path = httpx.post(f"{at}/tasks/{task_id}/events/token").json()["url"]
        open_and_drop(port, path, 200)
        watched = psutil.Process(process.pid)
        eventually(lambda: not connected(watched, port))
        before = watched.memory_info().rss
        # There is room for 200 again only if all seats of the first 200 are free.
        open_and_drop(port, path, 200)
        eventually(lambda: not connected(watched, port))
        assert watched.memory_info().rss - before < 16 * 2**20
        assert httpx.get(f"{at}/tasks/{task_id}").status_code == 200
        assert path.partition("token=")[2] not in log.read_text()
        assert "/events" in log.read_text(), "the requests themselves are logged"


def connected(process, port):
    return [
        one
        for one in process.net_connections("tcp")
        if one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED
    ]
