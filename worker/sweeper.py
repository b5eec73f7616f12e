"""Finds the tasks that nobody holds, and wakes workers for those that wait."""

from collections.abc import Callable
from dataclasses import asdict

import structlog
from sqlalchemy import Engine

from app.broker import collect_unfinished_messages
from app.db import END_STATES, Place, read_session, write_session
from app.db.filling import HeldOutBytes
from app.deletion.copies import LOOK_SECONDS, Copies
from app.deletion.retention import Retained, retain
from app.errors import Problem
from app.idempotency.service import forget_requests
from app.processes.repeating import Repeating
from app.settings import Settings
from app.storage import BlobMissingError, BlobStore
from app.storage.garbage import Collector, stores_of
from app.uploads.large import forget_ended
from app.workers.needs import Resources
from app.workers.service import forget_lost
from worker.claim import lapsed, sweep
from worker.courier import forget
from worker.failures import silent_worker
from worker.long_leases import shorten
from worker.tidying import tidy, tidy_all
from worker.tracing import trace_task
from worker.turns import forget_turns, next_task
from worker.unmet import fail_unmet

log = structlog.get_logger(__name__)


class Sweeper:
    """Does every few seconds what a lost message or a lost worker left undone.

    Any number of workers may sweep at once. None of them is needed while nothing is lost, and
    any one of them is enough. Garbage has a thread of its own: to read a large store takes long,
    and leases do not wait.

    Args:
        engine: the database.
        blobs: where ended tasks, and lost processes, may have left files.
        settings: the process's settings.
        renew: renews what this very worker holds, so that it takes nothing from itself.
        has: what this worker trains on.
        wake: tells workers that train on the like that a task waits, by its id.
        idle: whether this worker could take a task. A busy one sends no wake-ups: they would
            pile up in the broker while it works.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        settings: Settings,
        renew: Callable[[], None],
        has: Resources,
        wake: Callable[[str], None],
        idle: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._settings = settings
        self._renew = renew
        self._has = has
        self._wake = wake
        self._idle = idle
        self._held_out = HeldOutBytes(engine, self._size)
        self._threads = (
            Repeating("sweeper", self.sweep, settings.sweep_seconds),
            Repeating("collector", self.collect, settings.gc_seconds),
            Repeating("retention", self.retain, settings.gc_seconds),
            Repeating("copies", Copies.of(engine, blobs, settings).drop_deleted, LOOK_SECONDS),
        )

    def start(self) -> None:
        """Sweep and collect garbage now, and from now on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; what they do at the moment is finished first."""
        for thread in self._threads:
            thread.stop()

    def sweep(self) -> None:
        """Take lapsed tasks from their workers, wake for what waits, tidy up."""
        self._renew()
        self._recover()
        self._fail_unmet()
        self.wake_waiting()
        tidy_all(self._engine, self._blobs, self._settings)  # last: it needs the store, which fails

    def collect(self) -> None:
        """Remove blobs that nothing refers to, writes that never ended, rows that are of no use."""
        for name in collect_unfinished_messages(self._settings):
            log.info("garbage_removed", name=name, place="broker")
        with write_session(self._engine) as session:
            forget(session)
            forget_requests(session)
            forget_lost(session)
            forget_ended(session)
            forget_turns(session)  # last: claims wait for the rows of turns
        self._collect_blobs()
        try:
            self._held_out.fill()
        except OSError as error:
            log.warning("held_out_not_measured", error=str(error))
        try:
            self._blobs.forget_deleted()  # last: it asks a bucket for every blob that lies here
        except OSError as error:
            log.warning("cache_not_tidied", error=str(error))

    def _size(self, blob: str) -> int | None:
        try:
            return self._blobs.size(blob)
        except BlobMissingError:
            return None  # of which `sats doctor` tells

    def _collect_blobs(self) -> None:
        """Remove garbage of every place; where one is down, what was found in others goes."""
        collector = Collector.of(self._engine, self._blobs, self._settings)
        try:
            found = collector.find()  # of all places: any of them may tell a wrong database
        except Problem as problem:
            log.warning("garbage_not_collected", reason=problem.detail)
            return
        except OSError as error:
            log.warning("garbage_not_collected", reason=str(error))
            return
        for place in Place:
            try:
                removed = collector.remove([one for one in found if one.place == place])
            except OSError as error:
                log.warning("garbage_not_collected", reason=str(error), place=place)
                continue
            for one in removed:
                size = one.entry.size
                log.info("garbage_removed", name=one.entry.name, bytes=size, place=place)

    def retain(self) -> None:
        """Delete what is past its days, some at a time."""
        stores = stores_of(self._blobs, self._settings, self._engine)
        more = True
        while more:
            done = retain(self._engine, stores, self._settings)
            if done != Retained():
                log.info("retention", **asdict(done))
            more = done.more

    def wake_waiting(self) -> None:
        """Send a wake-up if this worker is idle and a task waits that it may take.

        One is enough: whoever hears it takes the task whose turn it is, and other idle workers
        look for themselves.
        """
        if not self._idle():
            return
        with read_session(self._engine) as session:
            waiting = next_task(session, self._has)
        if waiting is not None:
            self._wake(waiting)

    def _recover(self) -> None:
        shorten(self._engine, self._settings.lease_seconds)
        with read_session(self._engine) as session:
            suspects = lapsed(session)
        for task_id in suspects:
            with write_session(self._engine) as session:
                state = sweep(session, task_id, self._settings.max_tries, silent_worker())
            if state is None:
                continue
            log.warning("task_swept", task=task_id, state=state)
            if state in END_STATES:
                self._leave(task_id)

    def _fail_unmet(self) -> None:
        for task_id in fail_unmet(self._engine, self._settings.unmet_hours):
            self._leave(task_id)

    def _leave(self, task_id: str) -> None:
        trace_task(self._engine, task_id)
        tidy(self._engine, self._blobs, self._settings, task_id)
