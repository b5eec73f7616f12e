"""How long pictures are worked for: until the time is up, or the service ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from app.errors import BusyProblem, NotReadyProblem, StoppingProblem
from app.http.draining import until_the_end
from app.inference.exported_graph import GraphError
from app.inference.lanes import ClosedError

log = structlog.get_logger(__name__)


class LateProblem(BusyProblem):
    """The pictures cannot be answered within `SATS_SERVE_DEADLINE_SECONDS`."""

    slug = "deadline-exceeded"
    title = "Too late, try again later"


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
