"""A task at the hands of its client."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import sats_client
from sats_client import _calls as calls
from sats_client._follow import Tell, followed
from sats_client.printing import Printer
from sats_client.records import Event, TaskRecord


@dataclass(frozen=True)
class Task(TaskRecord):
    """A task, as it was when the service was asked last."""

    _client: "sats_client.Client" = field(init=False, repr=False, compare=False)

    def wait(self, progress: bool | Tell = False, timeout: float | None = None) -> "Task":
        """Wait until the task has ended; return it, live or held.

        Its events come as a stream, which is opened again where it was cut. Where no stream comes
        through, the task is asked for every two seconds.

        Args:
            progress: True says on stderr what happens; a callable gets each `Event`.
            timeout: seconds after which to wait no longer; seen within 15 more.

        Raises:
            TaskFailed: it has failed; the error says why and names what is at fault.
            TaskCancelled: it was cancelled.
            TimedOut: it has not ended in time, and goes on.
        """
        if progress is not True:
            return self._client._bound(followed(self, progress or None, timeout))
        printer = Printer()
        try:
            return self._client._bound(followed(self, printer, timeout))
        finally:
            printer.end()

    def refresh(self) -> "Task":
        """Return the task as it is now."""
        return self._client.task(self.id)

    def cancel(self) -> "Task":
        """Cancel it: one that waits ends at once, one that runs as soon as its worker hears."""
        return self._client._bound(calls.done_once(Task, calls.task_path(self.id, ":cancel")))

    def retry(self) -> "Task":
        """Queue it again, where it has failed; it goes on from its last checkpoint."""
        return self._client._bound(calls.done_once(Task, calls.task_path(self.id, ":retry")))

    def log(self) -> str:
        """Return what its training wrote last."""
        return self._client._run(calls.log(self.id))

    def events(self, *types: str) -> Iterator[Event]:
        """Yield what has happened to it so far, the oldest first; as `wait` tells it, all of it.

        Args:
            *types: only these: `task.epoch` are its curves; progress is kept until it ends.
        """
        return self._client._pages(calls.events(self.id, types))


@dataclass(frozen=True)
class AsyncTask(TaskRecord):
    """A task, as it was when the service was asked last."""

    _client: "sats_client.AsyncClient" = field(init=False, repr=False, compare=False)

    async def wait(
        self,
        progress: bool | Tell = False,
        timeout: float | None = None,  # noqa: ASYNC109 - as its twin
    ) -> "AsyncTask":
        """Wait until the task has ended; as `Task.wait`."""
        if progress is not True:
            return await self._client._bound(followed(self, progress or None, timeout))
        printer = Printer()
        try:
            return await self._client._bound(followed(self, printer, timeout))
        finally:
            printer.end()

    async def refresh(self) -> "AsyncTask":
        """Return the task as it is now."""
        return await self._client.task(self.id)

    async def cancel(self) -> "AsyncTask":
        """Cancel it: one that waits ends at once, one that runs as soon as its worker hears."""
        return await self._client._bound(
            calls.done_once(AsyncTask, calls.task_path(self.id, ":cancel"))
        )

    async def retry(self) -> "AsyncTask":
        """Queue it again, where it has failed; it goes on from its last checkpoint."""
        return await self._client._bound(
            calls.done_once(AsyncTask, calls.task_path(self.id, ":retry"))
        )

    async def log(self) -> str:
        """Return what its training wrote last."""
        return await self._client._run(calls.log(self.id))

    def events(self, *types: str) -> AsyncIterator[Event]:
        """Yield what has happened to it so far; as `Task.events`."""
        return self._client._pages(calls.events(self.id, types))
