"""How long a request is worked for: until its client leaves, or its time is up."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from fastapi import Request

from app.errors import BadRequestProblem, BusyProblem, NotReadyProblem, StoppingProblem
from app.http.draining import until_the_end
from app.inference.exported_graph import GraphError
from app.inference.lanes import ClosedError

T = TypeVar("T")


class LateProblem(BusyProblem):
    """The pictures cannot be answered within `SATS_SERVE_DEADLINE_SECONDS`."""

    slug = "deadline-exceeded"
    title = "Too late, try again later"


class LeftProblem(BadRequestProblem):
    """The client has left; nobody reads this."""

    slug = "client-left"
    title = "The client has left"


log = structlog.get_logger(__name__)


@asynccontextmanager
async def until(deadline: float) -> AsyncIterator[None]:
    """Cancel the block once the event loop's clock shows `deadline`.

    Raises:
        LateProblem: it was cancelled.
    """
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as error:
        raise LateProblem("the pictures cannot be answered in time; come back later") from error


@asynccontextmanager
async def answering(deadline: float) -> AsyncIterator[None]:
    """Do the same, and refuse where no version can answer, or the service ends before.

    Raises:
        LateProblem: it was cancelled.
        StoppingProblem: the service is being stopped.
        NotReadyProblem: the version cannot be loaded, or gives no numbers.
    """
    try:
        with until_the_end():
            async with until(deadline):
                yield
    except ClosedError as error:
        raise StoppingProblem from error
    except GraphError as error:
        log.warning("graph_failed", error=str(error))
        raise NotReadyProblem("the version cannot be served; the service's log says why") from error


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what work gives; cancel it when the client leaves. The body was read before.

    Raises:
        LeftProblem: the client has left.
    """
    # Not in a task of its own: each takes the event loop a turn more until the answer is out.
    working, left, over = asyncio.current_task(), False, False
    if working is None:
        raise RuntimeError("there is no task to cancel")
    before = working.cancelling()

    def leave(_: object) -> None:
        nonlocal left
        if not over:
            left = True
            working.cancel()

    leaving = asyncio.create_task(_left(request))
    leaving.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError as error:
        # As `asyncio.timeout` does it: who else has cancelled is not answered in its place.
        if left and working.uncancel() <= before:
            raise LeftProblem("the connection was closed before the answer") from error
        raise
    finally:
        over = True
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
