"""What annotation files say, in a database on disk: their size never sits in memory."""

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sats_core.scratch import Scratch

_FAST = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
"""


class DiskIndex:
    """A database that is written once and then read; safe for threads and forked processes."""

    def __init__(self) -> None:
        folder = Scratch("index")
        self._path = folder.path / "index.db"
        self._connections: dict[int, _Connection] = {}
        weakref.finalize(self, _let_go, folder, os.getpid(), self._connections)

    @contextmanager
    def _filling(self) -> Iterator[sqlite3.Connection]:
        """Open the database to be written, the only time."""
        with closing(sqlite3.connect(self._path)) as database, database:
            database.executescript(_FAST)
            yield database

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        """Yield a query's rows, one at a time."""
        connection = self._connection()
        with connection.lock:
            cursor = connection.database.execute(query, values)
        while True:
            with connection.lock:
                row = cursor.fetchone()
            if row is None:
                return
            yield row

    def _connection(self) -> "_Connection":
        """Return this process's connection: a forked process must not use its parent's."""
        process = os.getpid()
        opened = self._connections.get(process)
        if opened is None:
            ours = _Connection(self._path)
            opened = self._connections.setdefault(process, ours)
            if opened is not ours:  # another thread was faster
                ours.database.close()
        return opened


class _Connection:
    """A connection that threads share; the index is never written again, so it needs no locks."""

    def __init__(self, path: Path) -> None:
        uri = f"{path.as_uri()}?mode=ro&immutable=1"
        self.database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self.lock = threading.Lock()


def _let_go(folder: Scratch, owner: int, connections: dict[int, _Connection]) -> None:
    for connection in connections.values():
        connection.database.close()
    if owner == os.getpid():
        folder.close()
