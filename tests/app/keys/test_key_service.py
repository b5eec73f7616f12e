import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import OperationalError

from app.db import make_engine, read_session, write_session
from app.errors import ConflictProblem, NotFoundProblem, UnauthorizedProblem
from app.http.loopback import is_loopback
from app.keys import secret
from app.keys.secret import LostSecretError, read_secret
from app.keys.service import (
    Caller,
    Scope,
    any_key,
    check_text,
    create_key,
    digest,
    list_keys,
    look_up,
    revoke_key,
)

SECRET = b"secret"


def authenticate(session, secret, key):
    """Do what a request does."""
    check_text(key)
    return look_up(session, digest(secret, key))


def test_a_key_is_recognised_and_not_stored(engine):
    with write_session(engine) as session:
        key = create_key(session, SECRET, "ci", [Scope.SUBMIT, Scope.SEGMENT])
    with read_session(engine) as session:
        caller = authenticate(session, SECRET, key)
        (row,) = list_keys(session)
    assert caller == Caller("ci", frozenset({Scope.SUBMIT, Scope.SEGMENT}), key_id=row.id)
    assert key.startswith("sats_")
    assert key not in {row.digest, row.name, str(row.scopes)}


@pytest.mark.parametrize("wrong", ["", "sats_", "sats_x", "\ud800", "é" * 5000])
def test_a_wrong_key_is_refused(engine, wrong):
    with write_session(engine) as session:
        create_key(session, SECRET, "ci", [Scope.SUBMIT])
    with read_session(engine) as session, pytest.raises(UnauthorizedProblem):
        authenticate(session, SECRET, wrong)


def test_a_key_under_another_secret_is_refused(engine):
    with write_session(engine) as session:
        key = create_key(session, SECRET, "ci", [Scope.SUBMIT])
    with read_session(engine) as session, pytest.raises(UnauthorizedProblem):
        authenticate(session, b"other", key)


def test_a_revoked_key_is_refused_and_opens_nothing(engine):
    with write_session(engine) as session:
        key = create_key(session, SECRET, "ci", [Scope.SUBMIT])
        revoke_key(session, "ci")
    with read_session(engine) as session:
        with pytest.raises(UnauthorizedProblem):
            authenticate(session, SECRET, key)
        assert any_key(session)


def test_names_are_unique_and_must_exist(engine):
    with write_session(engine) as session:
        create_key(session, SECRET, "ci", [Scope.SUBMIT])
    with write_session(engine) as session, pytest.raises(NotFoundProblem):
        revoke_key(session, "nobody")
    with pytest.raises(ConflictProblem), write_session(engine) as session:
        create_key(session, SECRET, "ci", [Scope.ADMIN])


def test_admin_may_everything():
    admin = Caller("a", frozenset({Scope.ADMIN}))
    assert all(admin.may(scope) for scope in Scope)
    assert not Caller("s", frozenset({Scope.SUBMIT})).may(Scope.SEGMENT)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "127.1.2.3"])
def test_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "localhost.evil.example", ""])
def test_not_loopback(host):
    assert not is_loopback(host)


def test_the_secret_is_made_once_by_whoever_comes_first(settings):
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: read_secret(settings), range(16)))
    path = settings.data_dir / "secret"
    assert secrets == {path.read_bytes()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in settings.data_dir.iterdir() if "secret" in p.name] == ["secret"]


def test_no_other_secret_is_made_in_the_place_of_one_that_is_away(settings, engine):
    """The folder is not mounted: with another secret no key would work, nor once it is back."""
    assert read_secret(settings, engine) == read_secret(settings)
    with write_session(engine) as session:
        create_key(session, read_secret(settings), "ci", [Scope.SUBMIT])
    path = settings.data_dir / "secret"
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(LostSecretError, match="is the disk not mounted"):
        read_secret(settings, engine)
    silent = make_engine("postgresql+psycopg://sats@127.0.0.1:9/sats?connect_timeout=2")
    with pytest.raises(OperationalError):
        read_secret(settings, silent)  # nobody can tell whether there are keys
    assert not path.exists()
    path.write_bytes(kept)
    assert read_secret(settings, engine) == kept


def test_a_secret_that_is_made_meanwhile_with_its_first_key_is_not_lost(
    settings, engine, monkeypatch
):
    """By another process, between this one's two looks."""
    look = secret._has_keys

    def later(engine):
        with write_session(engine) as session:
            create_key(session, read_secret(settings), "ci", [Scope.SUBMIT])
        return look(engine)

    monkeypatch.setattr(secret, "_has_keys", later)
    assert read_secret(settings, engine) == (settings.data_dir / "secret").read_bytes()


def test_the_secret_of_the_settings_wins(settings):
    given = type(settings).model_validate(settings.model_dump() | {"key_secret": "from outside"})
    assert read_secret(given) == b"from outside"
