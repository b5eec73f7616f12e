"""Bodies of Label Studio's requests, read by way of the disk: they may be long."""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, TypeVar, cast

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.errors import BadRequestProblem, TooLargeProblem
from app.http.bodies import bounded
from app.http.services import Services
from app.integrations.label_studio.asked import MAX_BODY_BYTES

_IN_MEMORY = 2**20
"""Bytes of a body that need not go to disk."""

T = TypeVar("T")


async def read_body(request: Request, services: Services, read: Callable[[BinaryIO], T]) -> T:
    """Return what a reader makes of a request's body, in a thread.

    Raises:
        TooLargeProblem: it is too long.
        BadRequestProblem: it ends too early, or the reader says so.
    """
    async with _spooled(request, services) as body:
        # Not with what takes little time, as pictures do: it may be half a gigabyte.
        return await run_in_threadpool(read, body)


@asynccontextmanager
async def _spooled(request: Request, services: Services) -> AsyncIterator[BinaryIO]:
    problem = TooLargeProblem(f"the body has more than {MAX_BODY_BYTES} bytes")
    services.settings.incoming_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(services.settings.incoming_dir)) as body:
        try:
            async for piece in bounded(request, MAX_BODY_BYTES, problem).stream():
                await run_in_threadpool(body.write, piece)
        except ClientDisconnect as error:
            raise BadRequestProblem("the connection was closed too early") from error
        body.seek(0)
        yield cast(BinaryIO, body)  # it has all that a file has
