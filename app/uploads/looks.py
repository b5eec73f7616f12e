"""Whose turn it is to look into an upload."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from app.errors import BusyProblem
from app.uploads.looking import LOOK_SECONDS

PATIENCE_SECONDS = 3 * LOOK_SECONDS
"""How long somebody waits: longer than a look takes, so that a contact sheet is drawn after it."""
MOST_WAITING = 32

P = ParamSpec("P")
T = TypeVar("T")


class Looks:
    """Lets one look at a time run: each may decode a picture of the largest size.

    Args:
        patience: seconds that one waits for its turn.
        most_waiting: how many may wait.
    """

    def __init__(
        self, patience: float = PATIENCE_SECONDS, most_waiting: int = MOST_WAITING
    ) -> None:
        self._patience = patience
        self._most_waiting = most_waiting
        self._waiting = 0
        self._turn = asyncio.Lock()

    async def run(self, look: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a look in a thread when its turn has come; none is held while it waits.

        Raises:
            BusyProblem: too many wait, or it has waited too long.
        """
        await self._wait()
        try:
            return await run_in_threadpool(look, *args, **kwargs)
        finally:
            self._turn.release()

    async def _wait(self) -> None:
        if self._waiting >= self._most_waiting:
            raise self._busy("too many wait to look into uploads")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._turn.acquire()
        except TimeoutError as error:
            raise self._busy("other uploads are being looked at") from error
        finally:
            self._waiting -= 1

    def _busy(self, why: str) -> BusyProblem:
        return BusyProblem(why, retry_after=round(LOOK_SECONDS))
