"""What endpoints stand on: a session, the caller."""

from collections.abc import Awaitable, Callable, Iterator
from functools import cache, partial
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.audit.actor import act_as
from app.db import Actor, ActorType, read_session, utc_now, write_session
from app.errors import UnauthorizedProblem
from app.http.keyless import LOCAL_CALLER, check_local
from app.http.services import Services
from app.http.sessions import session_holder
from app.keys.cache import KEYLESS
from app.keys.service import (
    Caller,
    Scope,
    any_key,
    check_end,
    check_model,
    check_scope,
    check_text,
    check_unbound,
    digest,
    look_up,
)


def app_services(request: Request) -> Services:
    """Return what the lifespan opened."""
    found: Services = request.app.state.services
    return found


AppServices = Annotated[Services, Depends(app_services)]


def read(services: AppServices) -> Iterator[Session]:
    """Open a session that only reads."""
    with read_session(services.engine) as session:
        yield session


def acting(request: Request) -> Actor:
    """Return who acts in a request whose caller was let through."""
    caller: Caller = request.state.caller
    kind = ActorType.KEYLESS if caller.key_id is None else ActorType.KEY
    return Actor(kind, caller.name, request.state.request_id)


Acting = Annotated[Actor, Depends(acting)]


def write(services: AppServices, actor: Acting) -> Iterator[Session]:
    """Open one transaction; it commits when the endpoint returns."""
    with write_session(services.engine) as session:
        act_as(session, actor)
        yield session


def announce_live(services: AppServices) -> Iterator[None]:
    """Look which versions are live, once the endpoint's transaction has moved one."""
    yield
    services.live.refresh_soon()


def renew_callers(services: AppServices) -> Iterator[None]:
    """Ask again who calls, once the endpoint's transaction has made or revoked a key."""
    yield
    services.callers.clear()


# scope="function": the session is closed, and the transaction committed, before the answer goes
# out. Otherwise a client could ask for what it has just posted and not find it.
ReadSession = Annotated[Session, Depends(read, scope="function")]
WriteSession = Annotated[Session, Depends(write, scope="function")]
# Among an operation's `dependencies`: entered before its session, it is left after the commit.
AnnounceLive = Depends(announce_live, scope="function")
RenewCallers = Depends(renew_callers, scope="function")

bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="sats_...",
    description="An API key, made by `sats keys create`. While no key was ever made, calls from "
    "the same machine need none, where no proxy and no page of another site stands between.",
)
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def identify(request: Request, services: Services, key: str | None) -> Caller:
    """Return who calls, whatever they may.

    Raises:
        UnauthorizedProblem: a key is needed, or this one is wrong.
        LocalCallersOnlyProblem: none is, and it is not certain that the caller is on this machine.
        ForbiddenProblem: another site uses the browser's session.
    """
    if key is not None:
        check_text(key)
    hashed = key_of(request, services, key)
    found = await _known(services, hashed)
    if hashed == KEYLESS:
        check_local(request)
    return found


def key_of(request: Request, services: Services, key: str | None) -> str:
    """Return the digest of a request's key, else of its browser's session; KEYLESS: neither.

    Raises:
        ForbiddenProblem: another site uses the browser's session.
    """
    if key is not None:
        return digest(services.secret, key)
    return session_holder(request, services.secret) or KEYLESS


async def check_again(services: Services, hashed: str) -> None:
    """Check that the key of this digest still works; KEYLESS: that there is still no key.

    Raises:
        UnauthorizedProblem: it was revoked; a first key was made.
        ExpiredKeyProblem: its end has come.
    """
    check_end(await _known(services, hashed), utc_now())


async def _known(services: Services, hashed: str) -> Caller:
    if known := services.callers.fresh(hashed):
        return known
    ask = partial(_looked_up, services, hashed)
    return await run_in_threadpool(services.callers.look_up, hashed, ask)


def _looked_up(services: Services, hashed: str) -> Caller:
    with read_session(services.engine) as session:
        if hashed != KEYLESS:
            return look_up(session, hashed)
        if any_key(session):  # a revoked one too: revoking opens nothing
            raise UnauthorizedProblem(
                "send `Authorization: Bearer sats_...`; `sats keys create` makes a key"
            )
    return LOCAL_CALLER


def admit(request: Request, services: Services, caller: Caller, *scopes: Scope) -> None:
    """Let a caller through to what needs one of `scopes`, or raise; waits for nothing.

    A model that is part of the path must be one that the caller may use. An operation that needs
    two scopes asks twice; its request is counted once.

    Raises:
        ExpiredKeyProblem: the end of its key has come.
        RequestLimitProblem: it has sent too many requests in the last minute.
        ForbiddenProblem: it has no such scope, or may not use the model.
    """
    check_end(caller, utc_now())
    if not hasattr(request.state, "caller"):
        services.last_uses.note(caller.key_id)
        services.rates.request(caller)
    check_scope(caller, *scopes)
    model = request.path_params.get("model")
    if model is not None:
        check_model(caller, model)
    request.state.caller = caller


async def let_in(request: Request, *scopes: Scope) -> Caller:
    """Let a caller with one of `scopes` (or `admin`) through.

    Raises:
        Problem: as `identify` and `admit`.
    """
    services, credentials = app_services(request), await bearer(request)
    found = await identify(request, services, credentials.credentials if credentials else None)
    admit(request, services, found, *scopes)
    return found


@cache
def require(*scopes: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency that lets callers with one of `scopes` (or `admin`) through."""

    async def caller(request: Request, _credentials: _Credentials) -> Caller:
        return await let_in(request, *scopes)

    return caller


@cache
def require_to_change(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency that asks for `scope`, or for `read` of calls that change nothing."""

    async def caller(request: Request, _credentials: _Credentials) -> Caller:
        reads = request.method in ("GET", "HEAD")
        return await let_in(request, scope, *([Scope.READ] if reads else []))

    return caller


def key_digest(request: Request, services: AppServices, credentials: _Credentials) -> str:
    """Return the digest of the key that a request brings, as `key_of` does."""
    return key_of(request, services, credentials.credentials if credentials else None)


KeyDigest = Annotated[str, Depends(key_digest)]

Segmenter = Annotated[Caller, Depends(require(Scope.SEGMENT))]
Submitter = Annotated[Caller, Depends(require(Scope.SUBMIT))]
Follower = Annotated[Caller, Depends(require(Scope.SUBMIT, Scope.READ))]
"""Who sees tasks: its own, or with `read` all."""
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]
Operator = Annotated[Caller, Depends(require_to_change(Scope.ADMIN))]
"""An admin, or where nothing is changed whoever may read."""


def require_everywhere(caller: Operator) -> Caller:
    """Let operators through whose key is bound to no model."""
    check_unbound(caller)
    return caller


EverywhereOperator = Annotated[Caller, Depends(require_everywhere)]
