"""What is new of one task, or of all: read once, kept for all who watch.

Lives on the event loop of one process.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from app.tasks.events import Told

KEPT_EVENTS = 256
"""How many events a feed keeps for watchers that are slow to take them."""


class Feed:
    """What is new, read once for all who watch it.

    Attributes:
        ended: whether no more will come.
    """

    def __init__(self) -> None:
        self.ended = False
        self._start: int | None = None  # every event over this is kept
        self._kept: deque[Told] = deque()
        self._news = asyncio.Event()

    @property
    def newest(self) -> int | None:
        """Id of the last event that was read; None before the first look."""
        return self._kept[-1].number if self._kept else self._start

    def begin(self, last: int) -> None:
        """Say which event is the last one now: only what comes after it is kept."""
        self._start = last
        self._tell()

    def add(self, told: Told) -> None:
        """Keep an event; the oldest one is forgotten where there are too many."""
        self._kept.append(told)
        if len(self._kept) > KEPT_EVENTS:
            self._start = self._kept.popleft().number
        self._tell()

    def end(self) -> None:
        """Say that no more will come."""
        self.ended = True
        self._tell()

    def over(self, after: int) -> Sequence[Told] | None:
        """Return the events with ids over `after`; None if not all of them are kept."""
        if self._start is None or after < self._start:
            return None
        return [one for one in self._kept if one.number > after]

    async def news(self, seconds: float) -> None:
        """Wait until something is new, `seconds` at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()
