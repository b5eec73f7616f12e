"""Requests that come at the same time share one run of the graph."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.inference.budget import Budget, Share

Item = TypeVar("Item")
Result = TypeVar("Result")


class ClosedError(Exception):
    """The batcher was closed before the item was run."""


@dataclass(frozen=True)
class Load:
    """How busy a batcher is.

    Attributes:
        batches: runs so far.
        items: items in them.
        free: places that are free.
    """

    batches: int
    items: int
    free: int


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    key: Hashable
    answer: "Future[Result]" = field(default_factory=Future)


class Batcher(Generic[Item, Result]):
    """Runs items in batches on a thread of its own.

    A batch is what waits when the thread becomes free: the oldest item, and after it, in order,
    those with the same key. So nothing waits for a batch to fill, items of one key are answered in
    order, and none is overtaken for ever: whoever is oldest goes next.

    Args:
        run: takes 1 to `most` items of one key, returns their results in order.
        key_of: items may share a run where this is equal.
        most: items in one run.
        places: items in the house, from `reserve` until its block is left.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        key_of: Callable[[Item], Hashable],
        *,
        most: int,
        places: int,
    ) -> None:
        self._run = run
        self._key_of = key_of
        self._most = most
        self._places = Budget(places)
        self._batches = 0
        self._items = 0
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def load(self) -> Load:
        """What was run so far, and the places that are free now."""
        with self._changed:
            return Load(self._batches, self._items, self._places.free)

    def reserve(self, items: int) -> AbstractContextManager[Share]:
        """Hold places while the block runs, all or none of them.

        Raises:
            FullError: not so many are free.
        """
        return self._places.hold(items)

    def submit(self, item: Item) -> "Future[Result]":
        """Queue an item; cancelling the future before its run takes the item out.

        Raises:
            ClosedError: the batcher is closed.
        """
        waiting: _Waiting[Item, Result] = _Waiting(item, self._key_of(item))
        with self._changed:
            if self._closed:
                raise ClosedError
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.answer

    def close(self) -> None:
        """Finish the batch that runs, refuse what waits, end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)
            del batch  # while the thread waits, it holds on to nobody's pictures
        for waiting in self._waiting:
            if waiting.answer.set_running_or_notify_cancel():
                waiting.answer.set_exception(ClosedError())
        self._waiting.clear()

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """Wait for items and take out a batch; an empty one says that the batcher is closed."""
        with self._changed:
            while not self._closed:
                batch = self._take()
                if batch:
                    self._batches += 1
                    self._items += len(batch)
                    return batch
                self._changed.wait()
        return []

    def _take(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        left: deque[_Waiting[Item, Result]] = deque()
        for waiting in self._waiting:
            fits = len(batch) < self._most and (not batch or waiting.key == batch[0].key)
            if not fits:
                left.append(waiting)
            elif waiting.answer.set_running_or_notify_cancel():
                batch.append(waiting)
        self._waiting = left
        return batch

    def _answer(self, batch: list[_Waiting[Item, Result]]) -> None:
        """Run a batch and hand out what came of it.

        A batch that fails is run again item by item, so that only who is at fault hears of it.
        """
        try:
            results = self._run([waiting.item for waiting in batch])
            answers = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who waits for it
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:
                for waiting in batch:
                    self._answer([waiting])
            return
        for waiting, result in answers:
            waiting.answer.set_result(result)
