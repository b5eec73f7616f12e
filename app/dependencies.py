"""What endpoints stand on: the process's services, a session, the caller."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.broker import make_celery
from app.db import make_engine, read_session, write_session
from app.errors import ForbiddenProblem, UnauthorizedProblem
from app.inference.engine import Inference
from app.inference.warm_up import WarmUp
from app.keys.cache import KEYLESS, CallerCache
from app.keys.secret import read_secret
from app.keys.service import Caller, Scope, any_key, authenticate, digest, local_caller
from app.models.live import LiveVersions
from app.settings import Settings
from app.storage import BlobStore, LocalBlobStore


@dataclass(frozen=True)
class Services:
    """Everything long-lived that a process of the API holds."""

    settings: Settings
    engine: Engine
    blobs: BlobStore
    celery: Celery
    secret: bytes
    """Secret under the digests of API keys."""
    callers: CallerCache
    live: LiveVersions
    inference: Inference
    warm_up: WarmUp

    def close(self) -> None:
        """Give threads and connections back."""
        self.live.close()
        self.inference.close()
        self.celery.close()
        self.engine.dispose()


def open_services(settings: Settings) -> Services:
    """Open database, blob store and broker; makes data_dir where it is missing."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    blobs = LocalBlobStore(settings.blob_dir)
    engine = make_engine(settings.resolved_database_url)
    inference = Inference(settings, blobs)
    live = LiveVersions(engine, settings.live_poll_seconds)
    held = Services(
        settings=settings,
        engine=engine,
        blobs=blobs,
        celery=make_celery(settings),
        secret=read_secret(settings),
        callers=CallerCache(settings.key_cache_seconds, settings.key_outage_seconds),
        live=live,
        inference=inference,
        warm_up=WarmUp(live, inference.graphs, settings.serve_warm_up_seconds),
    )
    live.start()
    return held


def services(request: Request) -> Services:
    """Return what the lifespan opened."""
    found: Services = request.app.state.services
    return found


AppServices = Annotated[Services, Depends(services)]


def read(held: AppServices) -> Iterator[Session]:
    """Open a session that only reads."""
    with read_session(held.engine) as session:
        yield session


def write(held: AppServices) -> Iterator[Session]:
    """Open one transaction; it commits when the endpoint returns."""
    with write_session(held.engine) as session:
        yield session


def announce_live(held: AppServices) -> Iterator[None]:
    """Look which versions are live, once the endpoint's transaction has moved one."""
    yield
    held.live.refresh_soon()


# scope="function": the session is closed, and the transaction committed, before the answer goes
# out. Otherwise a client could ask for what it has just posted and not find it.
ReadSession = Annotated[Session, Depends(read, scope="function")]
WriteSession = Annotated[Session, Depends(write, scope="function")]
# Among an operation's `dependencies`: entered before its session, it is left after the commit.
AnnounceLive = Depends(announce_live, scope="function")

_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="sats_...",
    description="An API key, made by `sats keys create`. While no key was ever made, calls from "
    "the same machine need none.",
)
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@cache
def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency that lets callers with `scope` (or `admin`) through."""

    async def caller(request: Request, held: AppServices, credentials: _Credentials) -> Caller:
        if credentials is not None:
            key = digest(held.secret, credentials.credentials)
            ask = partial(_authenticated, held, credentials.credentials)
        else:
            local = local_caller(request.client, request.headers)
            if local is None:
                raise _key_is_needed()
            key, ask = KEYLESS, partial(_keyless, held, local)
        found = held.callers.fresh(key)
        if found is None:
            found = await run_in_threadpool(held.callers.look_up, key, ask)
        if not found.may(scope):
            raise ForbiddenProblem(f"the key has no scope `{scope}`")
        return found

    return caller


def _authenticated(held: Services, key: str) -> Caller:
    with read_session(held.engine) as session:
        return authenticate(session, held.secret, key)


def _keyless(held: Services, local: Caller) -> Caller:
    with read_session(held.engine) as session:
        if any_key(session):
            raise _key_is_needed()
    return local


def _key_is_needed() -> UnauthorizedProblem:
    return UnauthorizedProblem(
        "send `Authorization: Bearer sats_...`; `sats keys create` makes a key"
    )


Segmenter = Annotated[Caller, Depends(require(Scope.SEGMENT))]
Submitter = Annotated[Caller, Depends(require(Scope.SUBMIT))]
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]
