"""Callers that a process remembers, and for how long."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.testclient import TestClient

from app.db import make_engine, read_session, write_session
from app.errors import UnauthorizedProblem
from app.keys import cache as module
from app.keys.cache import KEYLESS, CallerCache
from app.keys.secret import read_secret
from app.keys.service import Caller, Scope, create_key, revoke_key
from app.main import create_app
from app.settings import Settings
from app.storage import BlobStore
from tests.fixtures.statements import Statements
from tests.fixtures.versions import add_version

CI = Caller("ci", frozenset({Scope.SEGMENT}))
LONG = 3600.0
PATIENCE = 60


def says(caller: Caller) -> Callable[[], Caller]:
    return lambda: caller


def refuses() -> Caller:
    raise UnauthorizedProblem("revoked")


def is_silent() -> Caller:
    """Ask a database that is not there."""
    with read_session(make_engine("sqlite:////nowhere/sats.db")) as session:
        session.execute(select(1))
    raise AssertionError("it answered")


def test_who_was_let_in_is_known_for_a_while() -> None:
    cache = CallerCache(LONG, LONG)
    assert cache.fresh("d") is None
    assert cache.look_up("d", says(CI)) == cache.fresh("d") == CI
    impatient = CallerCache(0, LONG)
    impatient.look_up("d", says(CI))
    assert impatient.fresh("d") is None


def test_the_least_recently_used_go_first() -> None:
    cache = CallerCache(LONG, LONG, most=2)
    for digest in ("a", "b"):
        cache.look_up(digest, says(CI))
    assert cache.fresh("a")
    cache.look_up("c", says(CI))
    assert [cache.fresh(digest) for digest in "abc"] == [CI, None, CI]


def test_who_is_refused_is_not_kept() -> None:
    cache = CallerCache(0, LONG)
    cache.look_up("d", says(CI))
    with pytest.raises(UnauthorizedProblem):
        cache.look_up("d", refuses)
    with pytest.raises(OperationalError):  # nor let in later, because nobody can be asked
        cache.look_up("d", is_silent)


def test_while_the_database_is_silent_who_was_let_in_is_for_a_bounded_time() -> None:
    cache = CallerCache(0, LONG)
    with pytest.raises(OperationalError):
        cache.look_up("d", is_silent)
    cache.look_up("d", says(CI))
    for _ in range(2):
        assert cache.look_up("d", is_silent) == CI
    bounded = CallerCache(LONG, 0)
    bounded.look_up("d", says(CI))
    with pytest.raises(OperationalError):
        bounded.look_up("d", is_silent)


def test_once_a_key_has_called_nobody_does_without() -> None:
    cache = CallerCache(LONG, LONG)
    cache.look_up(KEYLESS, says(Caller("", frozenset(Scope))))
    assert cache.fresh(KEYLESS)
    cache.look_up("d", says(CI))
    assert cache.fresh(KEYLESS) is None


def test_that_no_key_was_made_is_believed_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYLESS_SECONDS", 0.0)
    cache = CallerCache(LONG, LONG)
    cache.look_up(KEYLESS, says(Caller("", frozenset(Scope))))
    assert cache.fresh(KEYLESS) is None


def test_an_answer_that_is_older_than_a_revocation_is_not_kept() -> None:
    cache = CallerCache(LONG, LONG)

    def revoked_meanwhile() -> Caller:
        cache.clear()
        return CI

    cache.look_up("d", revoked_meanwhile)
    assert cache.fresh("d") is None


def is_too_busy() -> Caller:
    raise PoolTimeoutError("all connections are taken")


def test_a_database_without_time_is_no_outage() -> None:
    cache = CallerCache(0, LONG)
    cache.look_up("d", says(CI))
    for _ in range(2):
        with pytest.raises(PoolTimeoutError):
            cache.look_up("d", is_too_busy)
    assert cache.look_up("d", is_silent) == CI


class Hanging:
    """A database that keeps whoever asks waiting, and then does not answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.entered = threading.Event()
        self.over = threading.Event()

    def __call__(self) -> Caller:
        self.asked += 1
        self.entered.set()
        assert self.over.wait(PATIENCE)
        return is_silent()


def test_one_request_waits_for_a_database_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: seconds)
    cache = CallerCache(5.0, LONG)
    cache.look_up("d", says(CI))
    hanging = Hanging()
    seconds = 6.0
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.look_up, "d", hanging)
        try:
            assert hanging.entered.wait(PATIENCE)
            assert cache.look_up("d", hanging) == CI  # at once
        finally:
            seconds = 11.0  # it took as long as a caller is fresh
            hanging.over.set()
        assert first.result() == CI
    assert hanging.asked == 1
    assert cache.fresh("d") == CI


@pytest.mark.parametrize("outage_seconds", [0, LONG])
def test_who_is_not_known_waits_for_the_answer_that_is_asked_for(outage_seconds: float) -> None:
    cache = CallerCache(0, outage_seconds)
    if not outage_seconds:
        cache.look_up("d", says(CI))  # known, but not to be believed without the database
    hanging = Hanging()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.look_up, "d", hanging)
        assert hanging.entered.wait(PATIENCE)
        second = pool.submit(cache.look_up, "d", hanging)
        hanging.over.set()
        for one in (first, second):
            assert isinstance(one.exception(PATIENCE), OperationalError)


def test_who_comes_after_a_revocation_waits_for_no_older_answer() -> None:
    cache = CallerCache(0, LONG)
    hanging = Hanging()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(cache.look_up, "d", hanging)
        try:
            assert hanging.entered.wait(PATIENCE)
            cache.clear()
            with pytest.raises(UnauthorizedProblem):
                cache.look_up("d", refuses)
        finally:
            hanging.over.set()


@pytest.fixture
def remembering(settings: Settings) -> Iterator[TestClient]:
    """A service that asks the database for nothing twice."""
    patient = {"key_cache_seconds": LONG, "live_poll_seconds": 60.0}
    app = create_app(settings.model_copy(update=patient))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


def test_a_request_that_is_answered_from_memory_asks_nothing(
    remembering: TestClient,
    settings: Settings,
    engine: Engine,
    blobs: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEYLESS_SECONDS", LONG)
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    services = remembering.app.state.services
    assert remembering.get("/classes").status_code == 200
    with Statements(services.engine) as sent:
        assert remembering.get("/classes").status_code == 200  # without a key
    assert not sent.seen
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "ci", [Scope.SEGMENT])
    bearer = {"Authorization": f"Bearer {key}"}
    assert remembering.get("/classes", headers=bearer).status_code == 200
    with Statements(services.engine) as sent:
        assert remembering.get("/classes", headers=bearer).status_code == 200
    # When a key was last used is written beside the requests, in a thread.
    assert not [one for one, _ in sent.seen if not one.startswith("UPDATE api_keys")]


def test_the_process_that_revokes_a_key_forgets_it_at_once(
    remembering: TestClient, settings: Settings, engine: Engine
) -> None:
    with write_session(engine) as session:
        secret = read_secret(settings)
        keys = [create_key(session, secret, name, [Scope.SUBMIT]) for name in ("ci", "other")]

    def statuses() -> list[int]:
        headers = [{"Authorization": f"Bearer {key}"} for key in keys]
        return [remembering.get("/tasks", headers=one).status_code for one in headers]

    assert statuses() == [200, 200]
    with write_session(engine) as session:
        revoke_key(session, "ci")
    assert statuses() == [200, 200]  # another process did it: known for `key_cache_seconds`
    remembering.app.state.services.callers.clear()
    assert statuses() == [401, 200]
