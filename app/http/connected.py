"""Work that is done only as long as its client is there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from app.errors import BadRequestProblem

T = TypeVar("T")


class LeftProblem(BadRequestProblem):
    """The client has left; nobody reads this."""

    slug = "client-left"
    title = "The client has left"


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
