"""How long a request is worked for: until its client leaves, or its time is up."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request

from app.errors import BadRequestProblem, BusyProblem

T = TypeVar("T")


@asynccontextmanager
async def until(deadline: float) -> AsyncIterator[None]:
    """Cancel the block once the event loop's clock shows `deadline`.

    Raises:
        BusyProblem: it was cancelled.
    """
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as error:
        raise BusyProblem("the pictures cannot be answered in time; come back later") from error


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what work gives; cancel it when the client leaves. The body was read before.

    Raises:
        BadRequestProblem: the client has left; nobody reads it.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise BadRequestProblem("the connection was closed before the answer")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
