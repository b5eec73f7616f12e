"""API keys: made, listed, revoked, recognised."""

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit.actor import actor_of
from app.audit.service import Action, record
from app.db import ApiKey, utc_now
from app.db.base import JsonObject, utc_text
from app.errors import ForbiddenProblem, NotFoundProblem, UnauthorizedProblem
from app.keys.problems import ExpiredKeyProblem, KeyNameTakenProblem, MistypedKeyProblem
from app.keys.text import is_mistyped, make_key
from app.records.paging import NEWEST, behind


class Scope(StrEnum):
    """What a key may do."""

    SEGMENT = "segment"  # POST /segment, GET /classes
    SUBMIT = "submit"  # everything under /tasks, of the key's own tasks
    READ = "read"  # GET of all tasks and of what is under /admin
    ADMIN = "admin"  # everything


@dataclass(frozen=True)
class KeyLimits:
    """How much a key may ask for; None: as much as there is."""

    requests_per_minute: int | None = None
    pictures_per_minute: int | None = None
    concurrent_requests: int | None = None
    queued_tasks: int | None = None
    stored_bytes: int | None = None

    @property
    def per_minute(self) -> bool:
        """Whether it may ask for so much in a minute."""
        return self.requests_per_minute is not None or self.pictures_per_minute is not None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True)
class Caller:
    """Who calls, and what it may: a key as it was looked up, or nobody's call.

    Whether it may now, and this, is for the checks below to say: a caller that was looked up some
    seconds ago is as good as a new one, but for a key that was revoked since.

    Attributes:
        name: the key's name; "" where none is needed.
        scopes: what it may do.
        key_id: row of the key; None where none is needed.
        models: names of the only models that it may use; empty: all.
        expires_at: from when on it works no more.
        limits: how much it may ask for.
    """

    name: str
    scopes: frozenset[Scope]
    key_id: int | None = None
    models: frozenset[str] = frozenset()
    expires_at: datetime | None = None
    limits: KeyLimits = NO_LIMITS

    def may(self, *scopes: Scope) -> bool:
        """Return whether the caller has one of these scopes; `admin` has all."""
        return Scope.ADMIN in self.scopes or not self.scopes.isdisjoint(scopes)

    def reaches(self, model: str) -> bool:
        """Return whether the caller may use a model."""
        return not self.models or model in self.models


def digest(secret: bytes, key: str) -> str:
    """Return the HMAC-SHA256 of a key, hex."""
    return hmac.new(secret, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def create_key(
    session: Session,
    secret: bytes,
    name: str,
    scopes: Collection[Scope],
    *,
    models: Collection[str] = (),
    expires_at: datetime | None = None,
    limits: KeyLimits = NO_LIMITS,
    random: bytes | None = None,
) -> str:
    """Store a new key's digest and return the key, which is never seen again. Flushes.

    Raises:
        KeyNameTakenProblem: a key of this name was made before.
    """
    key = make_key(random)
    row = ApiKey(
        name=name,
        digest=digest(secret, key),
        scopes=sorted(set(scopes)),
        models=sorted(set(models)),
        expires_at=expires_at,
        made_by=actor_of(session),
        **asdict(limits),
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise KeyNameTakenProblem(f"there is a key named {name!r} already") from error
    record(session, Action.KEY_CREATE, f"/admin/keys/{row.id}", after=_described(row))
    return key


def limits_of(key: ApiKey) -> KeyLimits:
    """Return the limits of a key."""
    return KeyLimits(**{field.name: getattr(key, field.name) for field in fields(KeyLimits)})


def _described(key: ApiKey) -> JsonObject:
    ends = utc_text(key.expires_at) if key.expires_at else None
    rules = {"scopes": key.scopes, "models": key.models or [], "expires_at": ends}
    return {"name": key.name, **rules, **asdict(limits_of(key))}


def list_keys(session: Session) -> list[ApiKey]:
    """Return all keys, revoked ones too, oldest first."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.id)))


def some_keys(
    session: Session, limit: int, place: int | None, sort: str = NEWEST
) -> Sequence[ApiKey]:
    """Return keys, revoked ones too, as they were made: some of those behind an id."""
    found = behind(select(ApiKey), [ApiKey.id], None if place is None else [place], sort)
    return session.scalars(found.limit(limit)).all()


def find_key(session: Session, name: str) -> ApiKey:
    """Return the key of this name.

    Raises:
        NotFoundProblem: there is none.
    """
    found = session.scalar(select(ApiKey).where(ApiKey.name == name))
    if found is None:
        raise NotFoundProblem(f"there is no key named {name!r}")
    return found


def get_key(session: Session, key_id: int) -> ApiKey:
    """Return the key of this id.

    Raises:
        NotFoundProblem: there is none.
    """
    found = session.get(ApiKey, key_id)
    if found is None:
        raise NotFoundProblem(f"there is no key {key_id}")
    return found


def revoke_key(session: Session, name: str) -> ApiKey:
    """Stop a key from working; its row stays, so that its tasks keep their owner. Flushes.

    Revoking twice is no error.

    Raises:
        NotFoundProblem: no key of this name.
    """
    found = find_key(session, name)
    session.refresh(found, with_for_update=True)  # of two that revoke it one does
    if found.revoked_at is None:
        found.revoked_at, found.revoked_by = utc_now(), actor_of(session)
        session.flush()
        before = {"name": name, "revoked_at": None}
        after = {"name": name, "revoked_at": utc_text(found.revoked_at)}
        record(session, Action.KEY_REVOKE, f"/admin/keys/{found.id}", before=before, after=after)
    return found


def any_key(session: Session) -> bool:
    """Return whether a key was ever made; a revoked one counts, so revoking opens nothing."""
    return session.scalar(select(ApiKey.id).limit(1)) is not None


def check_text(key: str) -> None:
    """Check a key's text by itself; asks nobody.

    Raises:
        MistypedKeyProblem: its checksum does not fit.
    """
    if is_mistyped(key):
        raise MistypedKeyProblem("the API key is mistyped: its checksum does not fit")


def look_up(session: Session, key_digest: str) -> Caller:
    """Return the caller that a key of this digest stands for, whatever it may now.

    Raises:
        UnauthorizedProblem: there is no such key, or it was revoked.
    """
    found = session.scalar(select(ApiKey).where(ApiKey.digest == key_digest))
    if found is None or not hmac.compare_digest(found.digest, key_digest) or found.revoked_at:
        raise UnauthorizedProblem("the API key is not known or was revoked")
    return Caller(
        name=found.name,
        scopes=frozenset(Scope(scope) for scope in found.scopes),
        key_id=found.id,
        models=frozenset(found.models or ()),
        expires_at=found.expires_at,
        limits=limits_of(found),
    )


def check_row(session: Session, key_id: int) -> None:
    """Check that a key that asked for something still works, now that it is done.

    Raises:
        UnauthorizedProblem: it was revoked.
        ExpiredKeyProblem: its end has come.
    """
    key = session.get_one(ApiKey, key_id)
    check_end(look_up(session, key.digest), utc_now())


def check_end(caller: Caller, now: datetime) -> None:
    """Check that a caller's key still works.

    Raises:
        ExpiredKeyProblem: its end has come.
    """
    if caller.expires_at is not None and caller.expires_at <= now:
        ended = utc_text(caller.expires_at.replace(microsecond=0))
        raise ExpiredKeyProblem(f"the API key {caller.name!r} expired at {ended}")


def check_scope(caller: Caller, *scopes: Scope) -> None:
    """Check that a caller may do what one of these scopes allows.

    Raises:
        ForbiddenProblem: it has none of them.
    """
    if not caller.may(*scopes):
        raise ForbiddenProblem(f"the key has no scope {' or '.join(f'`{one}`' for one in scopes)}")


def check_model(caller: Caller, model: str) -> None:
    """Check that a caller may use a model.

    Raises:
        ForbiddenProblem: its key is bound to others.
    """
    if not caller.reaches(model):
        raise ForbiddenProblem(f"the key {caller.name!r} may not use model {model!r}")


def check_unbound(caller: Caller) -> None:
    """Check that a caller may use every model, and so what belongs to none.

    Raises:
        ForbiddenProblem: its key is bound to some.
    """
    if caller.models:
        bound = ", ".join(map(repr, sorted(caller.models)))
        raise ForbiddenProblem(
            f"this is not for keys that are bound to models; {caller.name!r} is bound to {bound}"
        )
