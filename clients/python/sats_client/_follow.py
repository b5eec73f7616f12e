"""Waiting for a task's end: by its events, and where those do not come by asking."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import TypeVar

from sats_client._flow import Ask, Flow, Lost, Open, Read, Request, Sleep, Stream
from sats_client._reading import read
from sats_client._sse import Message, Parser
from sats_client.errors import (
    BadAnswer,
    Overloaded,
    TaskCancelled,
    TaskFailed,
    TimedOut,
    Unreachable,
)
from sats_client.records import Event, State, TaskRecord

K = TypeVar("K", bound=TaskRecord)
Tell = Callable[[Event], object]

POLL_SECONDS = 2.0
AGAIN_SECONDS = 0.2
"""Between two streams: a proxy may cut them every so often."""
QUIET_SECONDS = 60.0
"""A stream that says nothing for so long is lost: the service comments every 15 seconds."""
PATIENCE_SECONDS = 300.0
"""How long a service may be away while a task of it is waited for."""
MISSES = 2
"""After so many streams without a word the task is asked for instead: there are proxies that keep
answers until they end."""


class _Wait:
    """One wait for a task: until when, who is told, and what was told."""

    def __init__(self, task: TaskRecord, tell: Tell | None, timeout: float | None) -> None:
        self.path = f"/tasks/{task.id}"
        self.last_id = ""
        self._id = task.id
        self._tell = tell or (lambda _: None)
        self._timeout = timeout
        self._end = None if timeout is None else monotonic() + timeout
        self._said: object = (task.state, task.phase)
        self._progress: object = None

    @property
    def left(self) -> float:
        """Seconds until the wait is over."""
        return float("inf") if self._end is None else self._end - monotonic()

    def check(self) -> None:
        """Raise `TimedOut` where the wait is over."""
        if self.left <= 0:
            raise TimedOut(f"task {self._id} has not ended within {self._timeout:g} s")

    def hear(self, message: Message) -> None:
        """Tell of an event of the stream."""
        self.last_id = message.id
        try:
            event = read(Event, json.loads(message.data))
        except ValueError as error:
            raise BadAnswer("an event is no JSON: is it a SATS service?") from error
        if event.type == "task.state":
            self._said = event.data.get("state"), event.data.get("phase")
        self._tell(event)

    def see(self, task: TaskRecord) -> None:
        """Tell what is new of a task that no stream told of."""
        if (task.state, task.phase) != self._said:
            self._said = task.state, task.phase
            self._tell(self._event(task, "task.state", _state_of(task)))
        if task.progress is not None and task.progress != self._progress:
            self._progress = task.progress
            self._tell(self._event(task, "task.progress", vars(task.progress)))

    @staticmethod
    def _event(task: TaskRecord, kind: str, data: dict[str, object]) -> Event:
        return Event("", kind, datetime.now(UTC), task.id, task.model, data)


def _state_of(task: TaskRecord) -> dict[str, object]:
    return {"state": task.state, "phase": task.phase, "outcome": task.outcome}


def followed(task: K, tell: Tell | None, timeout: float | None) -> Flow[K]:
    """Return a task as it ended well.

    Raises:
        TaskFailed: it has failed.
        TaskCancelled: it was cancelled.
        TimedOut: it has not ended in time; seen within 15 seconds.
        Unreachable: the service has been away for too long.
    """
    wait, misses = _Wait(task, tell, timeout), 0
    while not task.ended:
        if misses < MISSES:
            heard = yield from _stream(wait)
            misses = 0 if heard else misses + 1
        task = yield from _looked_at(type(task), wait)
        if misses:
            wait.see(task)
        if not task.ended:
            wait.check()
            yield Sleep(min(POLL_SECONDS if misses else AGAIN_SECONDS, max(wait.left, 0)))
    if task.state == State.FAILED:
        raise TaskFailed(task)
    if task.state == State.CANCELLED:
        raise TaskCancelled(task)
    return task


def _stream(wait: _Wait) -> Flow[bool]:
    """Tell of events until their stream ends; return whether it said anything."""
    headers = {"Accept": "text/event-stream"}
    if wait.last_id:
        headers["Last-Event-ID"] = wait.last_id
    quiet = max(0.1, min(QUIET_SECONDS, wait.left))
    heard = False
    try:
        stream: Stream = yield Open(
            Request("GET", f"{wait.path}/events", headers=headers, read_seconds=quiet)
        )
        if stream.status != 200:
            return stream.status == 204  # why else, the next look at the task says
        parser = Parser()
        while chunk := (yield Read(stream)):
            heard = True
            for message in parser.feed(chunk):
                wait.hear(message)
            wait.check()
    except Lost:
        pass  # it is opened again, where it was cut
    return heard


def _looked_at(kind: type[K], wait: _Wait) -> Flow[K]:
    """Return the task as it is now, whatever becomes of the service meanwhile."""
    began = monotonic()
    while True:
        try:
            return read(kind, (yield Ask(Request("GET", wait.path))).json())
        except (Unreachable, Overloaded) as away:
            pause = max(POLL_SECONDS, _told(away))
            if monotonic() - began + pause > PATIENCE_SECONDS:
                raise
        wait.check()
        yield Sleep(min(pause, max(wait.left, 0)))


def _told(away: Unreachable | Overloaded) -> float:
    """Return after how many seconds a limit is over; what 503 says has been waited for already."""
    if isinstance(away, Overloaded) and away.status == 429:
        return away.retry_after or 0.0
    return 0.0
