"""What endpoints stand on: the process's services, a session, the caller."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.broker import make_celery
from app.db import make_engine, read_session, write_session
from app.errors import ForbiddenProblem, UnauthorizedProblem
from app.inference.engine import Inference
from app.inference.warm_up import WarmUp
from app.keys.secret import read_secret
from app.keys.service import Caller, Scope, authenticate, keyless_caller
from app.settings import Settings
from app.storage import BlobStore, LocalBlobStore
from app.tasks.streams import Streams


@dataclass(frozen=True)
class Services:
    """Everything long-lived that a process of the API holds."""

    settings: Settings
    engine: Engine
    blobs: BlobStore
    celery: Celery
    secret: bytes
    """Secret under the digests of API keys."""
    inference: Inference
    warm_up: WarmUp
    streams: Streams

    def close(self) -> None:
        """Give threads and connections back."""
        self.inference.close()
        self.celery.close()
        self.engine.dispose()


def open_services(settings: Settings) -> Services:
    """Open database, blob store and broker; makes data_dir where it is missing."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    blobs = LocalBlobStore(settings.blob_dir)
    engine = make_engine(settings.resolved_database_url)
    inference = Inference(settings, blobs)
    return Services(
        settings=settings,
        engine=engine,
        blobs=blobs,
        celery=make_celery(settings),
        secret=read_secret(settings),
        inference=inference,
        warm_up=WarmUp(engine, inference.graphs, settings.serve_warm_up),
        streams=Streams(engine, settings.serve_streams),
    )


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


# scope="function": the session is closed, and the transaction committed, before the answer goes
# out. Otherwise a client could ask for what it has just posted and not find it.
ReadSession = Annotated[Session, Depends(read, scope="function")]
WriteSession = Annotated[Session, Depends(write, scope="function")]

bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="sats_...",
    description="An API key, made by `sats keys create`. While no key was ever made, calls from "
    "the same machine need none.",
)
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


@cache
def require(scope: Scope) -> Callable[..., Caller]:
    """Return the dependency that lets callers with `scope` (or `admin`) through."""

    def caller(request: Request, held: AppServices, credentials: _Credentials) -> Caller:
        with read_session(held.engine) as session:
            if credentials is None:
                found = keyless_caller(session, request.client, request.headers)
            else:
                found = authenticate(session, held.secret, credentials.credentials)
        if found is None:
            raise UnauthorizedProblem(
                "send `Authorization: Bearer sats_...`; `sats keys create` makes a key"
            )
        if not found.may(scope):
            raise ForbiddenProblem(f"the key has no scope `{scope}`")
        return found

    return caller


Segmenter = Annotated[Caller, Depends(require(Scope.SEGMENT))]
Submitter = Annotated[Caller, Depends(require(Scope.SUBMIT))]
Admin = Annotated[Caller, Depends(require(Scope.ADMIN))]
