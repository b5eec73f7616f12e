"""Keeps a claim alive beside whatever its worker does."""

import threading
import time
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import write_session
from worker.claim import Claim, LeaseLostError, renew

log = structlog.get_logger(__name__)


class Heartbeat:
    """A thread that renews a lease; a context manager around the work that the lease is for.

    Attributes:
        lost: set once the task is somebody else's, or the database took no renewal for as long as
            the lease lasts, or this thread ended, which come to the same.
        cancelled: set once somebody asked to cancel the task.
    """

    def __init__(
        self, engine: Engine, claim: Claim, lease_seconds: float, every_seconds: float
    ) -> None:
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self._engine = engine
        self._claim = claim
        self._lease_seconds = lease_seconds
        self._every_seconds = min(every_seconds, lease_seconds / 3)
        self._held_until = time.monotonic() + lease_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def given_up(self) -> bool:
        """Whether nobody will go on from what this worker has: lost, or cancelled."""
        return self.lost.is_set() or self.cancelled.is_set()

    def renew(self) -> None:
        """Renew the lease now, as every beat does; safe from any thread."""
        asked_at = time.monotonic()
        try:
            with write_session(self._engine) as session:
                if renew(session, self._claim, self._lease_seconds):
                    self.cancelled.set()
            self._held_until = asked_at + self._lease_seconds
        except LeaseLostError:
            # At a task's regular end the last beat may come after it: then nobody looks.
            self.lost.set()
        except SQLAlchemyError as error:
            # Not only a database that does not answer: one that is read-only for a while, say.
            log.warning("lease_not_renewed", task=self._claim.task_id, error=str(error))
            if time.monotonic() >= self._held_until:
                self.lost.set()

    def _beat(self) -> None:
        try:
            while not self._over.wait(self._every_seconds) and not self.lost.is_set():
                self.renew()
        except Exception:
            log.exception("heartbeat_failed", task=self._claim.task_id)
        finally:
            # Whatever ended this thread before its time: nobody renews the lease any more.
            if not self._over.is_set():
                self.lost.set()
