"""One task from claim to end: prepare, train in a child process, register."""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.selectable import ScalarSelect

from app.db import END_STATES, TaskState, is_passing, write_session
from app.errors import DiskFullProblem, Problem, problem_of
from app.settings import Settings
from app.storage import BlobStore, BlobStoreDownError
from sats_core.errors import CoreError
from sats_core.job import Job
from worker.claim import Claim, LeaseLostError, claim, end, give_back, halve, retry, warn
from worker.device import Device
from worker.failures import (
    FewerAtOnceError,
    StepLostError,
    why_failed,
    why_lost,
    why_worker_failed,
)
from worker.folder import WorkFolder
from worker.heartbeat import Heartbeat
from worker.preparing import check_room, prepare
from worker.process import CHILD, TrainingProcess
from worker.recorder import Recorder
from worker.registering import register
from worker.sharing import SharedCheckpoint, take_up
from worker.store_probe import LISTEN_SECONDS, StoreProbe
from worker.tidying import tidy
from worker.tracing import trace_task
from worker.turns import note_turn

STORE_AWAITED = (
    "the blob store could not be read or written: the worker waited for it, and the try is not "
    "counted. Its log says what failed"
)

log = structlog.get_logger(__name__)


class InterruptedStepError(Exception):
    """The step was stopped: the worker stops, the task was cancelled, or its lease is lost."""


class Supervisor:
    """Runs tasks, one at a time.

    Args:
        engine: the database.
        blobs: where uploads are read from and versions are written to.
        settings: the process's settings.
        worker: this worker's name, as it stands in the rows that it holds.
        device: what it trains on.
        command: command line of the training process; the job file comes behind it.

    Attributes:
        stopping: set it, from any thread or signal handler, to give the running task back and
            take no other.
        busy: set while a task runs.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        settings: Settings,
        worker: str,
        device: Device,
        command: Sequence[str] = CHILD,
    ) -> None:
        self.stopping = threading.Event()
        self.busy = threading.Event()
        self._engine = engine
        self._blobs = blobs
        self._store = StoreProbe(blobs)
        self._settings = settings
        self._worker = worker
        self._device = device
        self._command = command
        self._pulse: Heartbeat | None = None

    def renew(self) -> None:
        """Renew the lease of the task that runs, if any.

        After a machine was suspended its leases have run out though its worker still works.
        """
        pulse = self._pulse
        if pulse is not None:
            pulse.renew()

    def run(self, which: str | ScalarSelect[str]) -> TaskState | None:
        """Run a task if it can be claimed; return the state it is left in.

        None says that this worker had, or has, no say in it: there is none, it does not wait, it
        is not its turn, or the lease was lost on the way.

        Args:
            which: its id, or a query for it, `worker.turns.whose_turn` for one.
        """
        if self.stopping.is_set():
            return None
        self.busy.set()
        try:
            return self._run(which)
        finally:
            self.busy.clear()

    def _run(self, which: str | ScalarSelect[str]) -> TaskState | None:
        lease = self._settings.lease_seconds
        with write_session(self._engine) as session:
            claimed = claim(session, which, self._worker, lease)
            if claimed is None:
                return None
            note_turn(session, claimed.task_id, self._device.has)
        task_id = claimed.task_id
        log.info("task_claimed", task=task_id, fence=claimed.fence)
        try:
            with Heartbeat(self._engine, claimed, lease, self._settings.heartbeat_seconds) as pulse:
                self._pulse = pulse
                state = self._attempt(claimed, pulse)
        except LeaseLostError:
            log.warning("lease_lost", task=task_id, fence=claimed.fence)
            return None
        finally:
            self._pulse = None
        log.info("task_left", task=task_id, state=state)
        if state in END_STATES:
            trace_task(self._engine, task_id)
            self._tidy(task_id)
        return state

    def _tidy(self, task_id: str) -> None:
        """Tidy up behind an ended task; if the store is down, the sweep comes back for it."""
        try:
            tidy(self._engine, self._blobs, self._settings, task_id)
        except BlobStoreDownError as error:
            log.warning("not_tidied", task=task_id, error=str(error))

    def _attempt(self, claimed: Claim, pulse: Heartbeat) -> TaskState:
        """Bring the task to an end, or back into the queue."""
        try:
            return self._step(claimed, pulse)
        except LeaseLostError:
            raise
        except InterruptedStepError:
            if pulse.lost.is_set():
                raise LeaseLostError(claimed.task_id) from None
            with write_session(self._engine) as session:
                return give_back(session, claimed)
        except CoreError as error:
            return self._fail(claimed, problem_of(error))
        except Problem as problem:
            return self._fail(claimed, problem)
        except StepLostError as error:
            return self._lose(claimed, pulse, error.problem)
        except FewerAtOnceError as error:
            with write_session(self._engine) as session:
                return halve(session, claimed, error.warning)
        except BlobStoreDownError as error:
            log.exception("store_down", task=claimed.task_id)
            found = why_worker_failed(error)
            if isinstance(found, DiskFullProblem):
                return self._fail(claimed, found)
            return self._await_store(claimed, pulse)
        except Exception as error:
            log.exception("worker_error", task=claimed.task_id)
            if is_passing(error):
                return self._give_back_once_it_answers(claimed, pulse)
            return self._lose(claimed, pulse, why_worker_failed(error))

    def _lose(self, claimed: Claim, pulse: Heartbeat, found: Problem) -> TaskState:
        """Count a try that was lost, unless the blob store is down: then no try would do better."""
        if isinstance(found, DiskFullProblem):
            return self._fail(claimed, found)
        if self._store.answers(partial(self._interrupted, pulse)):
            return self._retry(claimed, found)
        return self._await_store(claimed, pulse)

    def _await_store(self, claimed: Claim, pulse: Heartbeat) -> TaskState:
        """Give the task back once the store answers, or did not for long: others may not need it.

        Whether it answers by now says nothing of the try, which it failed: none is counted.
        """
        log.warning("store_awaited", task=claimed.task_id)
        try:
            with write_session(self._engine) as session:
                warn(session, claimed, STORE_AWAITED)
        except SQLAlchemyError as error:
            log.warning("event_not_written", task=claimed.task_id, error=str(error))
        self._store.await_answer(partial(self._interrupted, pulse))
        return self._give_back_once_it_answers(claimed, pulse)

    def _give_back_once_it_answers(self, claimed: Claim, pulse: Heartbeat) -> TaskState:
        """Put the task back in the queue, at the cost of no try, if the lease lasts until then."""
        while not pulse.lost.is_set():
            try:
                with write_session(self._engine) as session:
                    return give_back(session, claimed)
            except SQLAlchemyError as error:
                if not is_passing(error):
                    raise
            if self.stopping.wait(LISTEN_SECONDS):
                break
        raise LeaseLostError(claimed.task_id)

    def _step(self, claimed: Claim, pulse: Heartbeat) -> TaskState:
        folder = WorkFolder(self._settings.work_dir, claimed.task_id)
        # Whoever lost the lease before us has this long to see it and to end its child.
        patience = 2 * self._settings.lease_seconds
        with folder.locked(self._worker, patience, lambda: self._interrupted(pulse)) as lock:
            if lock is None:
                raise InterruptedStepError
            job = prepare(
                self._engine, self._blobs, self._settings, claimed.task_id, folder, self._device
            )
            take_up(self._engine, self._blobs, claimed.task_id, folder)
            if not folder.is_done_for(job):  # what is done is only to be registered, at any rate
                check_room(self._engine, self._settings, claimed.task_id, job, folder)
                self._train(claimed, pulse, folder, job, lock)
            return register(self._engine, self._blobs, self._settings, claimed, folder)

    def _train(
        self, claimed: Claim, pulse: Heartbeat, folder: WorkFolder, job: Job, lock: int
    ) -> None:
        """Run the child until its result is written.

        Raises:
            InterruptedStepError: it was stopped.
            FewerAtOnceError: memory ran out, and fewer pictures at once may do.
            StepLostError: it ended without a result; another try may do better.
            Problem: it said why none will.
        """
        folder.begin(job)
        recorder = Recorder(self._engine, claimed)
        try:
            with (
                self._shares(claimed, pulse, folder),
                TrainingProcess(self._command, folder.job, lock, recorder.log) as process,
            ):
                log.info("child_started", task=claimed.task_id, pid=process.pid)
                self._listen(process, pulse, recorder)
                status = process.wait()
                starved = process.ran_out_of_memory(status)
        finally:
            recorder.finish_log()
        if recorder.failure is not None:
            raise why_failed(recorder.failure, job, recorder.phase)
        # A result that is there counts, even if the process fell over on its way out.
        if not folder.is_done_for(job):
            log.warning("child_lost", task=claimed.task_id, status=status, out_of_memory=starved)
            raise why_lost(status, starved, job, recorder.phase)

    def _shares(
        self, claimed: Claim, pulse: Heartbeat, folder: WorkFolder
    ) -> AbstractContextManager[object]:
        every = self._settings.checkpoints_every
        if every is None:
            return nullcontext()

        return SharedCheckpoint(
            self._engine, self._blobs, claimed, folder, every, lambda: pulse.given_up
        )

    def _listen(self, process: TrainingProcess, pulse: Heartbeat, recorder: Recorder) -> None:
        """Record what the child says until it says no more.

        Raises:
            InterruptedStepError: it was stopped. What it said until then is recorded too, where
                the next try goes on from there.
        """
        while not process.ended:
            if self._interrupted(pulse):
                last = process.stop()
                if not pulse.given_up:
                    for said in last:
                        recorder.hear(said)
                raise InterruptedStepError
            event = process.next_event(LISTEN_SECONDS)
            if event is not None:
                recorder.hear(event)
            recorder.write_log()

    def _interrupted(self, pulse: Heartbeat) -> bool:
        return self.stopping.is_set() or pulse.given_up

    def _fail(self, claimed: Claim, problem: Problem) -> TaskState:
        with write_session(self._engine) as session:
            return end(session, claimed, TaskState.FAILED, error=problem.body())

    def _retry(self, claimed: Claim, problem: Problem) -> TaskState:
        with write_session(self._engine) as session:
            return retry(session, claimed, self._settings.max_tries, problem)
