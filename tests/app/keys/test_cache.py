"""Callers that a process remembers, and for how long."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
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
    held = remembering.app.state.services
    assert remembering.get("/classes").status_code == 200
    with Statements(held.engine) as sent:
        assert remembering.get("/classes").status_code == 200  # without a key
    assert not sent.seen
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "ci", [Scope.SEGMENT])
    bearer = {"Authorization": f"Bearer {key}"}
    assert remembering.get("/classes", headers=bearer).status_code == 200
    with Statements(held.engine) as sent:
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
