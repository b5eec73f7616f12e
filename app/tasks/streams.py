"""Streams of events: one look at the database serves all who watch a task.

Everything here runs on the event loop of one process; the database is read in threads.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from fastapi.sse import format_sse_event
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.db import read_session
from app.errors import BusyProblem, NotFoundProblem, Problem, StoppingProblem
from app.tasks.events import encode, events_after, newest, story_after

POLL_SECONDS = 0.3
HEARTBEAT_SECONDS = 15.0
KEPT_EVENTS = 256
"""How many events a feed keeps for watchers that are slow to take them."""
RETRY_AFTER = 5
SHARE = 4
"""One key may hold this part, a quarter, of all streams."""

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Feed:
    """What is new of one task, read once for all who watch it.

    Attributes:
        ended: whether no more will come.
    """

    def __init__(self) -> None:
        self.ended = False
        self._start: int | None = None  # every event over this is kept
        self._kept: deque[tuple[int, bytes]] = deque()
        self._news = asyncio.Event()

    @property
    def newest(self) -> int | None:
        """Id of the last event that was read; None before the first look."""
        return self._kept[-1][0] if self._kept else self._start

    def begin(self, last: int) -> None:
        """Say which event is the last one now: only what comes after it is kept."""
        self._start = last
        self._tell()

    def add(self, number: int, event: bytes) -> None:
        """Keep an event; the oldest one is forgotten where there are too many."""
        self._kept.append((number, event))
        if len(self._kept) > KEPT_EVENTS:
            self._start = self._kept.popleft()[0]
        self._tell()

    def end(self) -> None:
        """Say that no more will come."""
        self.ended = True
        self._tell()

    def over(self, after: int) -> list[tuple[int, bytes]] | None:
        """Return the events with ids over `after`; None if not all of them are kept."""
        if self._start is None or after < self._start:
            return None
        return [one for one in self._kept if one[0] > after]

    async def news(self, seconds: float) -> bool:
        """Wait until something is new, `seconds` at most; return whether something is."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()


class Streams:
    """Every stream of events of this process.

    Args:
        engine: the database.
        most: how many streams may be open at once; where there are keys, one key may open a
            quarter of them.

    Attributes:
        open: how many are open now.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self.open = 0
        self._over = False
        self._engine = engine
        self._most = most
        self._held: Counter[str] = Counter()
        self._feeds: dict[str, tuple[Feed, asyncio.Task[None]]] = {}
        self._watchers: dict[Feed, int] = {}

    @contextmanager
    def seat(self, holder: str) -> Iterator[None]:
        """Count a stream as long as it is open.

        Args:
            holder: digest of the key that opens it; "" while there are no keys.

        Raises:
            BusyProblem: there are as many as there may be.
            StoppingProblem: no more may be.
        """
        if self._over:
            raise StoppingProblem
        share = max(1, self._most // SHARE) if holder else self._most
        if self.open >= self._most or self._held[holder] >= share:
            raise BusyProblem("as many streams of events are open as there may be", RETRY_AFTER)
        self.open += 1
        self._held[holder] += 1
        try:
            yield
        finally:
            self.open -= 1
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]

    def end(self) -> None:
        """End all that are open, which go on elsewhere with `Last-Event-ID`; open no more."""
        self._over = True
        for feed, _ in self._feeds.values():
            feed.end()

    async def follow(
        self, task_id: str, after: int, check: Callable[[], Awaitable[None]]
    ) -> AsyncGenerator[bytes]:
        """Yield a task's events with ids over `after`, and a comment now and then; ends with it.

        Of what was before, progress is left out that later progress has made old.

        Args:
            task_id: of the task.
            after: id of the last event that is not yielded.
            check: raises a problem where whoever follows may not go on; asked at each heartbeat.
        """
        clock = asyncio.get_running_loop().time
        checked = clock()
        with self._watch(task_id) as feed:
            while True:
                if clock() - checked >= HEARTBEAT_SECONDS:
                    if not await _holds(check):
                        return
                    checked = clock()
                events, seen = feed.over(after), feed.newest
                if events is None and seen is not None:
                    story = await self._read(story_after, task_id, after)
                    events = [(one.id, encode(one)) for one in story]
                    if not events:
                        after = seen  # what was there is thinned out: nothing to ask for again
                        continue
                for number, event in events or ():
                    yield event
                    after = number
                if events:
                    continue
                if feed.ended:
                    return
                if not await feed.news(HEARTBEAT_SECONDS):
                    yield format_sse_event(comment="still here")

    @contextmanager
    def _watch(self, task_id: str) -> Iterator[Feed]:
        """Share the feed of a task; the last one to leave ends it."""
        if task_id not in self._feeds:
            feed = Feed()
            feed.ended = self._over
            self._feeds[task_id] = (feed, asyncio.create_task(self._run(task_id, feed)))
        feed, reading = self._feeds[task_id]
        self._watchers[feed] = self._watchers.get(feed, 0) + 1
        try:
            yield feed
        finally:
            self._watchers[feed] -= 1
            if not self._watchers[feed]:
                del self._watchers[feed]
                reading.cancel()
                self._forget(task_id, feed)

    async def _run(self, task_id: str, feed: Feed) -> None:
        """Read what is new until the task ends or nobody watches."""
        try:
            while not feed.ended:
                try:
                    await self._look(task_id, feed)
                except SQLAlchemyError as error:
                    # The streams stay open: the database may be back at the next look.
                    log.warning("events_not_read", task=task_id, error=str(error))
                await asyncio.sleep(POLL_SECONDS)
        except NotFoundProblem:
            log.info("watched_task_is_gone", task=task_id)
        finally:
            self._forget(task_id, feed)
            feed.end()

    async def _look(self, task_id: str, feed: Feed) -> None:
        last = feed.newest
        if last is None:
            present, ended = await self._read(newest, task_id)
            feed.begin(present)
        else:
            events, ended = await self._read(events_after, task_id, last)
            for event in events:
                feed.add(event.id, encode(event))
        if ended:
            self._forget(task_id, feed)  # tried again, it is another story
            feed.end()

    def _forget(self, task_id: str, feed: Feed) -> None:
        if task_id in self._feeds and self._feeds[task_id][0] is feed:
            del self._feeds[task_id]

    async def _read(
        self, read: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def in_thread() -> T:
            with read_session(self._engine) as session:
                return read(session, *args, **kwargs)

        return await run_in_threadpool(in_thread)


async def _holds(check: Callable[[], Awaitable[None]]) -> bool:
    """Whether a check raises no problem; a database that is silent says nothing against it."""
    try:
        await check()
    except Problem:
        return False
    except SQLAlchemyError as error:
        log.warning("stream_not_checked", error=str(error))
    return True


class EventStream(StreamingResponse):
    """The answer that streams a task's events; 503 where too many are open."""

    media_type = "text/event-stream"

    def __init__(
        self,
        streams: Streams,
        task_id: str,
        after: int,
        holder: str,
        check: Callable[[], Awaitable[None]],
    ) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        self._events = streams.follow(task_id, after, check)
        super().__init__(self._events, headers=headers)
        self._streams = streams
        self._holder = holder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the task or the key ends or the client leaves; then free the seat."""
        with self._streams.seat(self._holder):
            async with aclosing(self._events):
                await super().__call__(scope, receive, send)
