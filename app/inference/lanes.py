"""A few threads that take what waits: picture by picture, or several for one run."""

import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from app.inference.budget import Budget, Share
from app.inference.works import Done, LeftError, Raw, Ready, Waiting, Work


class ClosedError(Exception):
    """The lanes were closed before the work was begun."""


@dataclass(frozen=True)
class Load:
    """How busy lanes are.

    Attributes:
        runs: runs so far.
        items: works in them.
        free: places that are free.
    """

    runs: int
    items: int
    free: int


class Lanes:
    """Threads, each of which takes one work through all its stages before it takes the next.

    Nothing is handed from thread to thread, and nothing waits for a batch to fill: a lane that
    becomes free takes the oldest work, and after it, in order, those that wait for the same runner,
    as many as it runs at once. So none is overtaken for ever: whoever is oldest goes next.

    Args:
        lanes: how many.
        places: works in the house, from `reserve` until its block is left.
    """

    def __init__(self, lanes: int, *, places: int) -> None:
        self._places = Budget(places)
        self._runs = self._items = 0
        self._busy = 0
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._take_turns, name=f"lane-{number}", daemon=True)
            for number in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._threads)

    @property
    def load(self) -> Load:
        """What was run so far, and the places that are free now."""
        with self._changed:
            return Load(self._runs, self._items, self._places.free)

    def reserve(self, works: int) -> AbstractContextManager[Share]:
        """Hold places while the block runs, all or none of them.

        Raises:
            FullError: not so many are free.
        """
        return self._places.hold(works)

    def submit(self, work: Work[Ready, Raw, Done]) -> "Future[Done]":
        """Queue a work; cancelling the future before a lane takes it takes it out.

        Raises:
            ClosedError: the lanes are closed.
        """
        waiting = Waiting(work)
        waiting.answer.add_done_callback(self._take_out)
        with self._changed:
            if self._closed:
                raise ClosedError
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.answer

    def close(self) -> None:
        """Finish what has begun, refuse what waits, end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for waiting in self._waiting:
            if waiting.answer.set_running_or_notify_cancel():
                waiting.answer.set_exception(ClosedError())
        self._waiting.clear()

    def _take_out(self, answer: "Future[Any]") -> None:
        """Hold on to nothing of a work that was cancelled while it waited."""
        if answer.cancelled():
            with self._changed:
                self._waiting = deque(one for one in self._waiting if one.answer is not answer)

    def _take_turns(self) -> None:
        while taken := self._next():
            self._serve(*taken)
            del taken  # while the thread waits, it holds on to nobody's pictures
            with self._changed:
                self._busy -= 1

    def _next(self) -> tuple[list[Waiting], bool] | None:
        """Wait for works and take some; return too whether they are all there is to do."""
        with self._changed:
            while not self._closed:
                batch = self._batch()
                if batch:
                    self._busy += 1
                    return batch, self._busy == 1 and len(batch) == 1 and not self._waiting
                self._changed.wait()
        return None

    def _batch(self) -> list[Waiting]:
        """Take works of one runner, as many as it runs at once, and leave others their share."""
        batch: list[Waiting] = []
        share = math.ceil(len(self._waiting) / (len(self._threads) - self._busy))
        left: deque[Waiting] = deque()
        while self._waiting:
            waiting = self._waiting.popleft()
            if batch and waiting.work.runner is not batch[0].work.runner:
                left.append(waiting)
            elif waiting.answer.set_running_or_notify_cancel():
                batch.append(waiting)
                if len(batch) == min(share, waiting.work.runner.most):
                    break
        self._waiting.extendleft(reversed(left))
        return batch

    def _serve(self, batch: list[Waiting], alone: bool) -> None:
        """Take works through their stages, and tell everybody what came of their own."""
        began = time.perf_counter()
        ready: list[tuple[Waiting, Any]] = []
        for waiting in batch:
            waiting.queued = began - waiting.since
            try:
                ready.append((waiting, waiting.work.prepare()))
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits for it
                waiting.fail(error)
            now = time.perf_counter()
            waiting.input, began = now - began, now
        self._run(ready, alone)

    def _run(self, ready: list[tuple[Waiting, Any]], alone: bool) -> None:
        """Run what is still waited for.

        A run that fails is run again work by work, so that only who is at fault hears of it.
        """
        wanted: list[tuple[Waiting, Any]] = []
        for one in ready:
            if one[0].work.left:
                one[0].fail(LeftError())
            else:
                wanted.append(one)
        if not wanted:
            return
        began = time.perf_counter()
        try:
            works = [waiting.work for waiting, _ in wanted]
            raws = works[0].runner.run(
                [item for _, item in wanted],
                alone=alone,
                left=lambda: all(work.left for work in works),
            )
            pairs = list(zip(wanted, raws, strict=True))
            works[0].ran(len(pairs))
        except BaseException as error:  # noqa: BLE001 - as above
            if len(wanted) == 1:
                wanted[0][0].fail(error)
            else:
                for one in wanted:
                    self._run([one], alone=False)
            return
        infer = time.perf_counter() - began
        with self._changed:
            self._runs += 1
            self._items += len(pairs)
        for (waiting, _), raw in pairs:
            waiting.finish(raw, infer)
