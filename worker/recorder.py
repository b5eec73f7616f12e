"""What the training process says, written to the task's row and its events."""

import time

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import TaskLog, TaskState, read_session, write_session
from app.tasks.telling import tell
from sats_core.events import (
    Event,
    FailedEvent,
    LabelsEvent,
    PhaseEvent,
    ProgressEvent,
    WarningEvent,
)
from worker.claim import Claim, enter, hold, report, warn
from worker.log_tail import LogTail

PROGRESS_SECONDS = 1.0
"""Progress is written at most this often, but the end of an epoch or a phase always is."""

LOG_SECONDS = 2.0
"""The log is written at most this often, and when the process has ended."""

LAST_TRIES = 3
"""How often the last lines are tried to be written, `LOG_SECONDS` apart."""

log = structlog.get_logger(__name__)


class Recorder:
    """Writes events in one short transaction each.

    Attributes:
        failure: why the step cannot go on, once the process said so.
        phase: what it is doing, as it said last.
        log: what it writes.
    """

    def __init__(self, engine: Engine, claim: Claim) -> None:
        self.failure: FailedEvent | None = None
        self.phase: str | None = None
        self.log = LogTail(_log_so_far(engine, claim.task_id))
        self._logged_at = time.monotonic()
        self._engine = engine
        self._claim = claim
        self._written_at = -PROGRESS_SECONDS

    def hear(self, event: Event) -> None:
        """Record one event.

        A database that takes no write costs the event and not the step: whether the step may
        go on is the lease's business.

        Raises:
            LeaseLostError: the task is somebody else's.
        """
        try:
            self._record(event)
        except SQLAlchemyError as error:
            log.warning("event_not_written", task=self._claim.task_id, error=str(error))

    def write_log(self) -> None:
        """Write the log now and then, if there is more of it.

        Raises:
            LeaseLostError: the task is somebody else's.
        """
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            self._write_log()

    def finish_log(self) -> None:
        """Write the last lines, which say most; a database that takes no write is asked again.

        Raises:
            LeaseLostError: the task is somebody else's.
        """
        for _ in range(LAST_TRIES):
            if self._write_log():
                return
            time.sleep(LOG_SECONDS)

    def _write_log(self) -> bool:
        """Write the log, if there is more of it; say whether none is left to write."""
        text = self.log.take()
        if text is None:
            return True
        try:
            with write_session(self._engine) as session:
                hold(session, self._claim)
                session.merge(TaskLog(task_id=self._claim.task_id, text=text))
        except SQLAlchemyError as error:
            self.log.give_back()
            log.warning("log_not_written", task=self._claim.task_id, error=str(error))
            return False
        return True

    def _record(self, event: Event) -> None:
        match event:
            case PhaseEvent():
                self.phase = event.phase
                with write_session(self._engine) as session:
                    enter(session, self._claim, TaskState(event.phase))
            case ProgressEvent():
                self._report(event)
            case WarningEvent():
                with write_session(self._engine) as session:
                    warn(session, self._claim, event.message)
            case LabelsEvent():
                self._tell_labels(event)
            case FailedEvent():
                self.failure = event

    def _tell_labels(self, event: LabelsEvent) -> None:
        data = event.report.model_dump(mode="json")
        with write_session(self._engine) as session:
            hold(session, self._claim)
            tell(session, self._claim.task_id, "labels", data)

    def _report(self, event: ProgressEvent) -> None:
        now = time.monotonic()
        ends = event.epoch_end or event.step == event.steps
        if not ends and now - self._written_at < PROGRESS_SECONDS:
            return
        self._written_at = now
        progress = event.model_dump(mode="json", exclude={"event", "epoch_end"})
        with write_session(self._engine) as session:
            report(session, self._claim, progress, event.epoch_end)


def _log_so_far(engine: Engine, task_id: str) -> str:
    with read_session(engine) as session:
        kept = session.get(TaskLog, task_id)
        return kept.text if kept else ""
