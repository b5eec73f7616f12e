"""What is said of a key, to whoever comes with it and in the audit log: word for word."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from app.audit.actor import act_as
from app.db import Actor, ActorType, AuditEntry, read_session, utc_now, write_session
from app.errors import ConflictProblem, ForbiddenProblem, NotFoundProblem, UnauthorizedProblem
from app.keys.problems import ExpiredKeyProblem, MistypedKeyProblem
from app.keys.service import (
    Caller,
    KeyLimits,
    Scope,
    any_key,
    check_end,
    check_model,
    check_row,
    check_scope,
    check_text,
    check_unbound,
    create_key,
    digest,
    find_key,
    get_key,
    list_keys,
    look_up,
    revoke_key,
    some_keys,
)
from app.keys.text import make_key

SECRET = b"secret"
LIMITS = KeyLimits(
    requests_per_minute=1,
    pictures_per_minute=2,
    queued_tasks=3,
    stored_bytes=4,
    concurrent_requests=5,
)
ONE_DATABASE = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


def text_of(time: datetime) -> str:
    """Return a time as answers spell it."""
    return time.isoformat().replace("+00:00", "Z")


def caller(**fields):
    return Caller("ci", frozenset({Scope.SUBMIT}), **fields)


def deeds(engine):
    with read_session(engine) as session:
        return [
            (entry.action, entry.object, entry.before, entry.after)
            for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        ]


def test_a_digest_is_the_hmac_whatever_the_text():
    # echo -n sats_x | openssl dgst -sha256 -hmac secret
    assert (
        digest(SECRET, "sats_x")
        == "ed1b3a5efff4e7365d15a657208cf0523288e269090cf8ec5e1f9fc35543fccb"
    )
    assert digest(SECRET, "\ud800") != digest(SECRET, "?")


@ONE_DATABASE
def test_all_that_a_key_was_made_with_is_kept_found_and_written_down(engine):
    ends = utc_now() + timedelta(days=1)
    rules = {"models": ["b", "a", "b"], "expires_at": ends, "limits": LIMITS}
    with write_session(engine) as session:
        assert not any_key(session)
        key = create_key(session, SECRET, "ci", [Scope.SUBMIT, Scope.SEGMENT], **rules)
        create_key(session, SECRET, "plain", [Scope.ADMIN])
    with read_session(engine) as session:
        row, plain = list_keys(session)
        assert any_key(session)
        assert find_key(session, "plain") is get_key(session, plain.id) is plain
        found = look_up(session, digest(SECRET, key))
    assert (row.scopes, row.models) == (["segment", "submit"], ["a", "b"])
    assert found == Caller(
        "ci",
        frozenset({Scope.SEGMENT, Scope.SUBMIT}),
        key_id=row.id,
        models=frozenset({"a", "b"}),
        expires_at=ends,
        limits=LIMITS,
    )
    limits = {"pictures_per_minute": 2, "queued_tasks": 3, "requests_per_minute": 1}
    bound = {"scopes": ["segment", "submit"], "models": ["a", "b"], "expires_at": text_of(ends)}
    free = {"scopes": ["admin"], "models": [], "expires_at": None}
    none = dict.fromkeys([*limits, "concurrent_requests", "stored_bytes"])
    assert deeds(engine) == [
        (
            "key.create",
            f"/admin/keys/{row.id}",
            None,
            {"name": "ci", **bound, **limits, "stored_bytes": 4, "concurrent_requests": 5},
        ),
        ("key.create", f"/admin/keys/{plain.id}", None, {"name": "plain", **free, **none}),
    ]


@ONE_DATABASE
def test_a_key_is_revoked_once_and_the_time_of_that_stays(engine):
    with write_session(engine) as session:
        create_key(session, SECRET, "ci", [Scope.SUBMIT])
    times = []
    for _ in range(2):
        with write_session(engine) as session:
            revoked = revoke_key(session, "ci")
            assert revoked.name == "ci"
            times.append(revoked.revoked_at)
    first, again = times
    assert first == again
    (_, *revoking) = deeds(engine)
    assert revoking == [
        (
            "key.revoke",
            f"/admin/keys/{revoked.id}",
            {"name": "ci", "revoked_at": None},
            {"name": "ci", "revoked_at": text_of(first)},
        )
    ]


@ONE_DATABASE
def test_what_is_said_of_keys_that_are_not_there_or_there_already(engine):
    with write_session(engine) as session:
        key = create_key(session, SECRET, "ci", [Scope.SUBMIT])
    with write_session(engine) as session:
        with pytest.raises(NotFoundProblem, match=r"^there is no key named 'nobody'$"):
            find_key(session, "nobody")
        with pytest.raises(NotFoundProblem, match=r"^there is no key 99$"):
            get_key(session, 99)
        revoke_key(session, "ci")
        for wrong in (key, "sats_x"):
            with pytest.raises(
                UnauthorizedProblem, match=r"^the API key is not known or was revoked$"
            ):
                look_up(session, digest(SECRET, wrong))
    with (
        pytest.raises(ConflictProblem, match=r"^there is a key named 'ci' already$"),
        write_session(engine) as session,
    ):
        create_key(session, SECRET, "ci", [Scope.SUBMIT])


@ONE_DATABASE
def test_who_made_a_key_and_who_revoked_it_is_kept(engine):
    root, eva = (Actor(ActorType.KEY, name) for name in ("root", "eva"))
    with write_session(engine) as session:
        act_as(session, root)
        create_key(session, SECRET, "ci", [Scope.SUBMIT])
    with write_session(engine) as session:
        act_as(session, eva)
        revoke_key(session, "ci")
    with read_session(engine) as session:
        row = find_key(session, "ci")
    assert (row.made_by, row.revoked_by) == (root, eva)


@ONE_DATABASE
def test_a_key_is_made_of_the_bits_that_are_given(engine):
    with write_session(engine) as session:
        key = create_key(session, SECRET, "ci", [Scope.SUBMIT], random=bytes(range(32)))
    assert key == make_key(bytes(range(32)))


@ONE_DATABASE
def test_keys_come_by_the_page_in_either_order(engine):
    with write_session(engine) as session:
        for name in "abc":
            create_key(session, SECRET, name, [Scope.SUBMIT])
        revoke_key(session, "b")
    with read_session(engine) as session:
        first, second, third = list_keys(session)
        assert some_keys(session, 2, None) == [third, second]
        assert some_keys(session, 2, second.id) == [first]
        assert some_keys(session, 2, None, "created_at") == [first, second]
        assert some_keys(session, 1, first.id, "created_at") == [second]


@ONE_DATABASE
def test_a_key_that_asked_for_something_has_to_work_when_it_is_done(engine):
    with write_session(engine) as session:
        create_key(session, SECRET, "ci", [Scope.SUBMIT], expires_at=utc_now() + timedelta(days=1))
        create_key(session, SECRET, "late", [Scope.SUBMIT], expires_at=utc_now())
        works, late = (find_key(session, name).id for name in ("ci", "late"))
        check_row(session, works)
        with pytest.raises(ExpiredKeyProblem):
            check_row(session, late)
        revoke_key(session, "ci")
        with pytest.raises(UnauthorizedProblem, match=r"was revoked$"):
            check_row(session, works)


def test_a_mistyped_key_is_told_so():
    with pytest.raises(
        MistypedKeyProblem, match=r"^the API key is mistyped: its checksum does not fit$"
    ):
        check_text("sats_x")


def test_a_key_works_until_its_end_and_not_at_it():
    now = utc_now().replace(microsecond=500)
    check_end(caller(), now)
    check_end(caller(expires_at=now + timedelta(microseconds=1)), now)
    ended = text_of(now.replace(microsecond=0))
    with pytest.raises(ExpiredKeyProblem) as caught:
        check_end(caller(expires_at=now), now)
    assert caught.value.detail == f"the API key 'ci' expired at {ended}"


def test_a_key_without_a_scope_is_told_which():
    check_scope(caller(), Scope.SUBMIT)
    with pytest.raises(ForbiddenProblem, match=r"^the key has no scope `admin`$"):
        check_scope(caller(), Scope.ADMIN)
    with pytest.raises(ForbiddenProblem, match=r"^the key has no scope `read` or `segment`$"):
        check_scope(caller(), Scope.READ, Scope.SEGMENT)


def test_a_bound_key_reaches_its_own_models_alone():
    check_model(caller(), "any")
    check_unbound(caller())
    bound = caller(models=frozenset({"b", "a"}))
    check_model(bound, "a")
    with pytest.raises(ForbiddenProblem, match=r"^the key 'ci' may not use model 'c'$"):
        check_model(bound, "c")
    with pytest.raises(ForbiddenProblem) as caught:
        check_unbound(bound)
    assert caught.value.detail == (
        "this is not for keys that are bound to models; 'ci' is bound to 'a', 'b'"
    )
