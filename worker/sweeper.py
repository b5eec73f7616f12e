"""Finds the tasks that nobody holds, and wakes workers for those that wait."""

import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.broker import collect_unfinished_messages
from app.db import END_STATES, read_session, write_session
from app.errors import Problem
from app.settings import Settings
from app.storage import BlobStore
from app.storage.garbage import Collector
from worker.claim import claimable, lapsed, sweep
from worker.courier import forget
from worker.tidying import tidy, tidy_all

log = structlog.get_logger(__name__)


class Sweeper:
    """Does every few seconds what a lost message or a lost worker left undone.

    Any number of workers may sweep at once. None of them is needed while nothing is lost, and
    any one of them is enough.

    Args:
        engine: the database.
        blobs: where ended tasks, and lost processes, may have left files.
        settings: the process's settings.
        renew: renews what this very worker holds, so that it takes nothing from itself.
        wake: sends a worker the id of a task that waits.
        idle: whether this worker could take a task. A busy one sends no wake-ups: they would
            pile up in the broker while it works.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        settings: Settings,
        renew: Callable[[], None],
        wake: Callable[[str], None],
        idle: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._settings = settings
        self._renew = renew
        self._wake = wake
        self._idle = idle
        self._next_collection = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Sweep now, and from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a sweep that runs is finished first."""
        self._over.set()
        self._thread.join()

    def sweep(self) -> None:
        """Take lapsed tasks from their workers, tidy up, wake for what waits, collect garbage."""
        self._renew()
        self._recover()
        tidy_all(self._engine, self._blobs, self._settings)
        if self._idle():
            self.wake_waiting()
        if time.monotonic() >= self._next_collection:
            self._next_collection = time.monotonic() + self._settings.gc_seconds
            self._collect()

    def wake_waiting(self) -> None:
        """Send a wake-up for every task that a worker could claim now: one a model at most."""
        with read_session(self._engine) as session:
            waiting = claimable(session)
        for task_id in waiting:
            self._wake(task_id)

    def _recover(self) -> None:
        with read_session(self._engine) as session:
            suspects = lapsed(session)
        for task_id in suspects:
            with write_session(self._engine) as session:
                state = sweep(session, task_id, self._settings.max_tries)
            if state is None:
                continue
            log.warning("task_swept", task=task_id, state=state)
            if state in END_STATES:
                tidy(self._engine, self._blobs, self._settings, task_id)

    def _collect(self) -> None:
        for name in collect_unfinished_messages(self._settings):
            log.info("garbage_removed", name=name, place="broker")
        with write_session(self._engine) as session:
            forget(session)
        collector = Collector.of(self._engine, self._blobs, self._settings)
        try:
            removed = collector.remove(collector.find())
        except Problem as problem:
            log.warning("garbage_not_collected", reason=problem.detail)
            return
        for one in removed:
            log.info("garbage_removed", name=one.entry.name, bytes=one.entry.size, place=one.place)

    def _run(self) -> None:
        while True:
            try:
                self.sweep()
            except OperationalError as error:
                log.warning("sweep_failed", error=str(error))
            except Exception:
                # The thread must outlive any one bad sweep: it is what everything falls back on.
                log.exception("sweep_failed")
            if self._over.wait(self._settings.sweep_seconds):
                return
