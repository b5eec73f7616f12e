"""When keys were last used, written beside the requests and seldom."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import structlog
from sqlalchemy import Engine, or_, update
from sqlalchemy.exc import SQLAlchemyError

from app.db import ApiKey, present, write_session

EVERY_SECONDS = 60.0

log = structlog.get_logger(__name__)


class LastUses:
    """Writes a key's last use in a thread of its own, at most once a minute.

    Nothing waits for it and nothing fails by it: a time that could not be written is lost.

    Args:
        engine: the database.
        clock: seconds that only grow.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: dict[int, float] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="last-use")

    def note(self, key_id: int | None) -> None:
        """Say that a key is used now."""
        if key_id is None:
            return
        now = self._clock()
        with self._lock:
            if now - self._noted.get(key_id, -EVERY_SECONDS) < EVERY_SECONDS:
                return
            self._noted[key_id] = now
        self._thread.submit(self._write, key_id)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._thread.shutdown()

    def _write(self, key_id: int) -> None:
        try:
            with write_session(self._engine) as session:
                now = present(session)
                # Another process may have written it: once a minute in all.
                long_ago = ApiKey.last_used_at < now - timedelta(seconds=EVERY_SECONDS)
                due = or_(ApiKey.last_used_at.is_(None), long_ago)
                used = update(ApiKey).where(ApiKey.id == key_id, due)
                session.execute(used.values(last_used_at=now))
        except SQLAlchemyError as error:
            log.warning("last_use_not_written", key=key_id, error=str(error))
