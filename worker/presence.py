"""Says in the database that this worker is there."""

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import Engine, delete, update
from sqlalchemy.exc import SQLAlchemyError

from app.db import Worker, database_now, write_session
from app.db.base import database_time
from worker.device import Device

BEATS = 3
"""So many beats may be missed before a worker counts as lost."""

log = structlog.get_logger(__name__)


class Presence:
    """The row of this worker. Not its lease on a task: nothing is taken from who is silent here.

    Args:
        engine: the database.
        name: of this worker, `host:pid`, as it stands in the rows of tasks that it holds.
        version: of this software.
        device: what it trains on.
        every_seconds: between two beats.
    """

    def __init__(
        self, engine: Engine, name: str, version: str, device: Device, every_seconds: float
    ) -> None:
        host, _, pid = name.rpartition(":")
        self._engine = engine
        self._about: Mapping[str, Any] = {
            "name": name,
            "host": host,
            "pid": int(pid),
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
            # Whoever had this host and process id before is no more.
            session.execute(delete(Worker).where(Worker.name == self._about["name"]))
            worker = Worker(**self._about, alive_until=until)
            session.add(worker)
            session.flush()
            made = worker.id
        self._id = made

    def leave(self) -> None:
        """Delete the row: this worker ends. Where the database does not answer it stays a day."""
        try:
            with write_session(self._engine) as session:
                session.execute(delete(Worker).where(Worker.id == self._id))
        except SQLAlchemyError as error:
            log.warning("presence_not_ended", error=str(error))
