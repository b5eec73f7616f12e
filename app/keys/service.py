"""API keys: made, listed, revoked, recognised."""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import ApiKey, utc_now
from app.errors import ConflictProblem, NotFoundProblem, UnauthorizedProblem

PREFIX = "sats_"
KEY_BYTES = 32


class Scope(StrEnum):
    """What a key may do."""

    SEGMENT = "segment"  # POST /segment, GET /classes
    SUBMIT = "submit"  # everything under /tasks
    ADMIN = "admin"  # everything


@dataclass(frozen=True)
class Caller:
    """Who calls: the key's name ("" where none is needed) and what it may do."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has `scope`; `admin` has all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class Address(Protocol):
    """Where a request comes from."""

    @property
    def host(self) -> str:
        """The address in text."""


def digest(secret: bytes, key: str) -> str:
    """Return the HMAC-SHA256 of a key, hex."""
    return hmac.new(secret, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def create_key(session: Session, secret: bytes, name: str, scopes: Collection[Scope]) -> str:
    """Store a new key's digest and return the key, which is never seen again.

    Raises:
        ConflictProblem: a key of this name was made before.
    """
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    session.add(ApiKey(name=name, digest=digest(secret, key), scopes=sorted(set(scopes))))
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictProblem(f"there is a key named {name!r} already") from error
    return key


def list_keys(session: Session) -> list[ApiKey]:
    """Return all keys, revoked ones too, oldest first."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.id)))


def revoke_key(session: Session, name: str) -> ApiKey:
    """Stop a key from working; its row stays, so that its tasks keep their owner's name.

    Raises:
        NotFoundProblem: no key of this name.
    """
    found = session.scalar(select(ApiKey).where(ApiKey.name == name))
    if found is None:
        raise NotFoundProblem(f"there is no key named {name!r}")
    if found.revoked_at is None:
        found.revoked_at = utc_now()
        session.flush()
    return found


def any_key(session: Session) -> bool:
    """Return whether a key was ever made; a revoked one counts, so revoking opens nothing."""
    return session.scalar(select(ApiKey.id).limit(1)) is not None


def authenticate(session: Session, secret: bytes, key: str) -> Caller:
    """Return the caller that a key stands for.

    Raises:
        UnauthorizedProblem: the key is not known or revoked.
    """
    wanted = digest(secret, key)
    found = session.scalar(select(ApiKey).where(ApiKey.digest == wanted))
    if found is None or not hmac.compare_digest(found.digest, wanted) or found.revoked_at:
        raise UnauthorizedProblem("the API key is not known or was revoked")
    return Caller(found.name, frozenset(Scope(scope) for scope in found.scopes))


def keyless_caller(
    session: Session, client: Address | None, headers: Mapping[str, str]
) -> Caller | None:
    """Return the caller without a key: all scopes from this machine while no key was ever made.

    A web page that a browser on this machine shows must not call on its user's behalf. Hence the
    name that was asked for has to be a loopback one (no DNS rebinding), and a browser's request
    may not come from another site.
    """
    return None if any_key(session) else local_caller(client, headers)


def local_caller(client: Address | None, headers: Mapping[str, str]) -> Caller | None:
    """Return the caller of this machine, if it is one and no web page's call."""
    if client is None or not is_loopback(client.host):
        return None
    host = headers.get("host", "").rsplit(":", 1)[0] if headers.get("host") else ""
    foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    if foreign or not is_loopback(host.strip("[]")):
        return None
    return Caller("", frozenset(Scope))


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine and cannot be reached from another."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
