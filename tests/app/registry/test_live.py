"""Which versions are live, as one process knows it."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from app.db import write_session
from app.errors import NoLiveVersionProblem, NotFoundProblem
from app.registry import live as module
from app.registry.live import LiveVersions
from app.registry.moves import promote
from app.registry.service import find_model
from app.storage import BlobStore
from tests.fixtures.statements import Statements
from tests.fixtures.versions import add_version

WAIT = 30


@pytest.fixture
def live(engine: Engine) -> Iterator[LiveVersions]:
    made = LiveVersions(engine, seconds=0.05)
    yield made
    made.close()


def add(engine: Engine, blobs: BlobStore, name: str, **options: object) -> None:
    with write_session(engine) as session:
        add_version(session, blobs, [name], **options)


def test_what_others_move_is_seen_by_the_thread(
    live: LiveVersions, engine: Engine, blobs: BlobStore
) -> None:
    live.start()
    for number, name in enumerate(["cat", "dog", "cow"], 1):
        add(engine, blobs, name)
        deadline = time.monotonic() + WAIT
        while (known := live.recall("default")) is None or known.number != number:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [entry["name"] for entry in known.classes][-1] == name
        assert known.line == tuple(range(1, number + 1))


def test_a_look_is_one_statement_while_nothing_moves(
    live: LiveVersions, engine: Engine, blobs: BlobStore
) -> None:
    add(engine, blobs, "cat")
    add(engine, blobs, "car", model="street")
    live.refresh()
    assert [(known.model, known.number) for known in live.all()] == [("default", 1), ("street", 1)]
    with Statements(engine) as sent:
        live.refresh()
    assert len([one for one, _ in sent.seen if one.startswith("SELECT")]) == 1


def test_what_is_not_known_is_asked_for(
    live: LiveVersions, engine: Engine, blobs: BlobStore
) -> None:
    with pytest.raises(NotFoundProblem):
        live.find("default")
    add(engine, blobs, "cat", live=False)
    with pytest.raises(NoLiveVersionProblem):
        live.find("default")
    assert live.find("default", 1).number == 1
    with pytest.raises(NotFoundProblem):
        live.find("default", 2)
    with write_session(engine) as session:
        model = find_model(session, "default")
        assert model is not None
        promote(session, model, 1)
    assert live.find("default").number == 1


def test_versions_asked_for_by_number_are_known_within_bounds(
    live: LiveVersions, engine: Engine, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERED", 2)
    for name in ("cat", "dog", "cow"):
        add(engine, blobs, name)
    for number in (1, 2, 1, 3):
        live.find("default", number)
    with Statements(engine) as sent:
        assert [live.find("default", number).number for number in (1, 3)] == [1, 3]
    assert not sent.seen
    assert live.recall("default", 2) is None
    live.forget("default", 1)
    assert live.recall("default", 1) is None
    monkeypatch.setattr(module, "NUMBERED_SECONDS", 0.0)
    assert live.recall("default", 3) is None


def test_while_the_database_is_silent_what_was_known_is_known(
    engine: Engine, blobs: BlobStore
) -> None:
    add(engine, blobs, "cat")
    live = LiveVersions(engine, seconds=0.05)
    live.refresh()

    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("the server is gone"))

    event.listen(engine, "before_cursor_execute", fail)
    live.refresh_soon()
    with pytest.raises(OperationalError):
        live.refresh()
    assert live.find("default").number == 1
    with pytest.raises(OperationalError):
        live.find("street")
    event.remove(engine, "before_cursor_execute", fail)
    add(engine, blobs, "dog")
    live.refresh()
    assert live.find("default").number == 2


def test_a_model_that_is_not_known_costs_no_look_at_all_aliases(
    live: LiveVersions, engine: Engine, blobs: BlobStore
) -> None:
    add(engine, blobs, "cat")
    with Statements(engine) as sent, pytest.raises(NotFoundProblem):
        live.find("nobody")
    assert len([one for one, _ in sent.seen if one.startswith("SELECT")]) == 1
    live.find("default")
    with Statements(engine) as sent:
        assert live.find("default").number == 1
    assert not sent.seen, "what was asked for is known"


class Gated:
    """Looks that wait to be let go on."""

    def __init__(self) -> None:
        self.looks = 0
        self.entered = threading.Event()
        self.gate = threading.Event()

    def wait(self, *_: object) -> None:
        self.looks += 1
        self.entered.set()
        assert self.gate.wait(WAIT)


def at_once(live: LiveVersions, gated: Gated) -> list[Future[None]]:
    """Have five threads look, of which four come while the first one does."""
    with ThreadPoolExecutor(5) as pool:
        try:
            looks = [pool.submit(live.refresh)]
            assert gated.entered.wait(WAIT)
            coming = Coming(live, 4)
            looks += [pool.submit(live.refresh) for _ in range(4)]
            assert coming.all.wait(WAIT)
        finally:
            gated.gate.set()
    return looks


class Coming:
    """Tells when so many threads wait for the lock of looks."""

    def __init__(self, live: LiveVersions, threads: int) -> None:
        self.all = threading.Event()
        self._lock, self._missing = live._looking, threads
        self._counting = threading.Lock()
        live._looking = self

    def __enter__(self) -> None:
        with self._counting:
            self._missing -= 1
            if not self._missing:
                self.all.set()
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()


def test_who_waits_for_a_look_at_a_database_that_hangs_makes_none_of_its_own() -> None:
    gated = Gated()

    def hang() -> NoReturn:
        gated.wait()
        raise sqlite3.OperationalError("unable to open database file")

    live = LiveVersions(create_engine("sqlite://", creator=hang), seconds=60.0)
    assert all(isinstance(one.exception(), OperationalError) for one in at_once(live, gated))
    assert gated.looks == 1
    with pytest.raises(OperationalError):
        live.refresh()
    assert gated.looks == 2, "who comes later looks again"


def test_who_comes_while_another_looks_sees_what_was_committed_before(
    live: LiveVersions, engine: Engine, blobs: BlobStore
) -> None:
    add(engine, blobs, "cat")
    gated = Gated()
    event.listen(engine, "begin", gated.wait)
    assert not any(one.exception() for one in at_once(live, gated))
    assert gated.looks == 2, "the first look may be older than what they committed; one more"
