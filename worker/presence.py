"""Says in the database that this worker is there."""

import os
import socket
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Engine, and_, delete, not_, or_, update
from sqlalchemy.exc import SQLAlchemyError

from app.db import Worker, database_now, write_session
from app.db.base import database_time
from app.workers.service import alive
from worker.device import Device

BEATS = 3
"""So many beats may be missed before a worker counts as lost."""

log = structlog.get_logger(__name__)


def name_of_this_process() -> str:
    """Return `host:pid-mark`; the mark is drawn anew by every call.

    A container that starts again has the host and the process id of the one before.
    """
    return f"{socket.gethostname()}:{os.getpid()}-{token_hex(3)}"


class Presence:
    """The row of this worker. Not its lease on a task: nothing is taken from who is silent here.

    Args:
        engine: the database.
        name: of this worker, `host:pid-mark`, as it stands in the rows of tasks that it holds.
        version: of this software.
        device: what it trains on.
        every_seconds: between two beats.
    """

    def __init__(
        self, engine: Engine, name: str, version: str, device: Device, every_seconds: float
    ) -> None:
        host, _, process = name.rpartition(":")
        self._engine = engine
        self._about: Mapping[str, Any] = {
            "name": name,
            "host": host,
            "pid": int(process.partition("-")[0]),
            "version": version,
            "device": device.has.device,
            "device_name": device.name,
            "devices": device.count,
            "memory_mib": device.has.memory_mib,
        }
        self._for_seconds = BEATS * every_seconds
        self._id: int | None = None

    def beat(self) -> None:
        """Say that it is there; the first time, or once its row was deleted, what it has too."""
        with write_session(self._engine) as session:
            until = database_now() + self._for_seconds
            seen = update(Worker).where(Worker.id == self._id)
            seen = seen.values(seen_at=database_time(), alive_until=until)
            if self._id is not None and session.scalar(seen.returning(Worker.id)) is not None:
                return
            session.execute(delete(Worker).where(self._is_no_more()))
            worker = Worker(**self._about, alive_until=until)
            session.add(worker)
            session.flush()
            made = worker.id
        self._id = made

    def _is_no_more(self) -> ColumnElement[bool]:
        """Whether a row is of one that had this host and process id before, or our own, lost."""
        before = and_(Worker.host == self._about["host"], Worker.pid == self._about["pid"])
        return or_(Worker.name == self._about["name"], and_(before, not_(alive())))

    def leave(self) -> None:
        """Delete the row: this worker ends. Where the database does not answer it stays a day."""
        try:
            with write_session(self._engine) as session:
                session.execute(delete(Worker).where(Worker.id == self._id))
        except SQLAlchemyError as error:
            log.warning("presence_not_ended", error=str(error))
