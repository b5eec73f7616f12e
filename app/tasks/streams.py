"""Streams of events: one look at the database serves all who watch a task, or all tasks.

Everything here runs on the event loop of one process; the database is read in threads.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
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
from app.tasks.events import (
    BATCH,
    Told,
    WantedEvents,
    events_after,
    newest,
    page_after,
    story_after,
)
from app.tasks.feed import Feed

POLL_SECONDS = 0.3
HEARTBEAT_SECONDS = 15.0
RETRY_AFTER = 5
SHARE = 4
"""One key may hold this part, a quarter, of all streams."""

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Watch:
    """What one stream streams.

    Attributes:
        task: id of the task that it follows, and ends with; None: it follows all.
        which: which events of those.
        after: id of the last event that is not streamed.
        holder: digest of the key that opens it; "" while there are no keys.
        check: raises a problem where whoever watches may not go on; asked at each heartbeat.
    """

    task: str | None
    which: WantedEvents
    after: int
    holder: str
    check: Callable[[], Awaitable[None]]

    def story(self, session: Session, after: int) -> Sequence[Told]:
        """Return what somebody is told first who missed the events over `after`."""
        if self.task is None:
            return page_after(session, self.which, after, BATCH)
        return story_after(session, self.task, after)


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
        self._feeds: dict[str | None, tuple[Feed, asyncio.Task[None]]] = {}
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

    async def follow(self, watch: Watch) -> AsyncGenerator[bytes]:
        """Yield the events of a watch, and a comment now and then; ends with its task.

        Of what a task told before, progress is left out that later progress has made old.
        """
        clock = asyncio.get_running_loop().time
        after, checked, spoke = watch.after, clock(), clock()
        with self._watch(watch.task) as feed:
            while True:
                if clock() - checked >= HEARTBEAT_SECONDS:
                    if not await _holds(watch.check):
                        return
                    checked = clock()
                if clock() - spoke >= HEARTBEAT_SECONDS:
                    yield format_sse_event(comment="still here")
                    spoke = clock()
                told, seen = feed.over(after), feed.newest
                missed = False
                if told is None and seen is not None:
                    missed = True
                    told = await self._read(watch.story, after)
                    if len(told) < BATCH:
                        after = max(after, seen)  # what else was there is not for this stream
                for one in told or ():
                    after = max(after, one.number)
                    if watch.which.has(one):
                        yield one.sse
                        spoke = clock()
                if told or missed:
                    continue  # more may have come meanwhile
                if feed.ended:
                    return
                await feed.news(min(checked, spoke) + HEARTBEAT_SECONDS - clock())

    @contextmanager
    def _watch(self, task_id: str | None) -> Iterator[Feed]:
        """Share the feed of a task, or of all; the last one to leave ends it."""
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

    async def _run(self, task_id: str | None, feed: Feed) -> None:
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
        except Exception:
            log.exception("events_not_told", task=task_id)
        finally:
            self._forget(task_id, feed)
            feed.end()

    async def _look(self, task_id: str | None, feed: Feed) -> None:
        last = feed.newest
        if last is None:
            present, ended = await self._read(newest, task_id)
            feed.begin(present)
        else:
            events, ended = await self._read(events_after, task_id, last)
            for told in events:
                feed.add(told)
        if ended:
            self._forget(task_id, feed)  # tried again, it is another story
            feed.end()

    def _forget(self, task_id: str | None, feed: Feed) -> None:
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
    """The answer that streams events; 503 where too many are open."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, watch: Watch) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Vary": "Accept"}
        self._events = streams.follow(watch)
        super().__init__(self._events, headers=headers)
        self._streams = streams
        self._holder = watch.holder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the task or the key ends or the client leaves; then free the seat."""
        with self._streams.seat(self._holder):
            async with aclosing(self._events):
                await super().__call__(scope, receive, send)
