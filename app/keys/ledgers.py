"""Where the processes of the API keep together what keys have spent: Redis, else a file.

For every name there is a debt in seconds, which goes by itself: a key of 60 requests a minute that
has just sent 5 owes 5 seconds. So no process needs another one's limits or buckets. It stands where
the messages for workers do: with Redis all hosts share it, with files those of a data folder.

It may be lost, as where Redis keeps nothing on a disk. Each process says with what it adds until
when the name was in debt by the last answer, which holds again where nothing is known any more:
however many say so, a debt comes back once.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

from app.broker import REDIS_OPTIONS
from app.keys.service import digest
from app.settings import Settings

MOST_SECONDS = 120.0
"""The most that is owed: of a burst that many processes let in at once not all is paid back, and a
clock that was set back keeps nobody out for longer."""
LOCK_SECONDS = 5.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local answer = {string.format('%.6f', now)}
for i, name in ipairs(KEYS) do
    local known = tonumber(redis.call('GET', name) or 0)
    local said, more = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
    local until_ = math.min(math.max(known, said, now) + more, now + tonumber(ARGV[1]))
    if until_ > now then
        local rest = math.ceil((until_ - now) * 1000)
        redis.call('SET', name, string.format('%.6f', until_), 'PX', rest)
    end
    answer[i + 1] = string.format('%.6f', until_)
end
return answer
"""


class AwayError(Exception):
    """The ledger does not answer."""


class Ledger(Protocol):
    """What is owed, by name."""

    def spend(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """Add to what is owed; return what is now, of the same names, by all processes.

        Args:
            seconds: of each name, 0 or more.

        Raises:
            AwayError: nobody can be asked now; it is not known whether it was added.
        """

    def close(self) -> None:
        """Give its connection back."""


class FileLedger:
    """A small SQLite database of its own, which may be lost: nothing is synced to the disk.

    Args:
        path: of the file; it is made where it is missing.
        clock: seconds, the same for all processes.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._said: dict[str, float] = {}

    def spend(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """See `Ledger`."""
        try:
            with closing(sqlite3.connect(self._path, LOCK_SECONDS, isolation_level=None)) as file:
                return self._spend(file, seconds)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                self._remove()
            raise AwayError(f"{self._path.name}: {error}") from error

    def close(self) -> None:
        """See `Ledger`."""

    def _remove(self) -> None:
        """Let the next one begin anew: where power was lost, so may be what was not synced."""
        journal = self._path.with_name(f"{self._path.name}-journal")
        for one in (journal, self._path):  # in this order: it would be played into a new file
            with suppress(OSError):  # that it cannot be used is told already
                one.unlink(missing_ok=True)

    def _spend(self, file: sqlite3.Connection, seconds: Mapping[str, float]) -> dict[str, float]:
        file.execute("PRAGMA synchronous = OFF")
        file.execute("BEGIN IMMEDIATE")
        file.execute("CREATE TABLE IF NOT EXISTS spent (name TEXT PRIMARY KEY, until REAL)")
        now = self._clock()
        file.execute("DELETE FROM spent WHERE until <= ?", (now,))
        until = dict(file.execute("SELECT name, until FROM spent"))
        owed: dict[str, float] = {}
        for name, more in seconds.items():
            end = max(until.get(name, now), self._said.get(name, now))
            owed[name] = min(end - now + more, MOST_SECONDS)
        in_debt = {name: now + debt for name, debt in owed.items() if debt > 0}
        file.executemany("INSERT OR REPLACE INTO spent VALUES (?, ?)", in_debt.items())
        file.execute("COMMIT")
        self._said = _still_owed(self._said | in_debt, now)
        return owed


class RedisLedger:
    """Keys of the broker's Redis that go by themselves; its clock is everybody's.

    Args:
        url: of the broker, as kombu spells it.
        service: whose keys they are: another one's may lie beside them.
    """

    def __init__(self, url: str, service: str) -> None:
        self._url = url
        self._prefix = f"sats:spent:{service}:"
        self._said: dict[str, float] = {}
        self._connection: Any = None
        self._client: Any = None

    def spend(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """See `Ledger`."""
        from redis.exceptions import RedisError

        keys = [self._prefix + name for name in seconds]
        given = [
            number for name, more in seconds.items() for number in (self._said.get(name, 0.0), more)
        ]
        try:
            client = self._connected()
            now, *until = map(float, client.eval(_SCRIPT, len(keys), *keys, MOST_SECONDS, *given))
        except (RedisError, OSError) as error:
            self.close()
            raise AwayError(f"Redis: {type(error).__name__}") from error
        answered = dict(zip(seconds, until, strict=True))
        self._said = _still_owed(self._said | answered, now)
        return {name: end - now for name, end in answered.items()}

    def close(self) -> None:
        """See `Ledger`."""
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.release()

    def _connected(self) -> Any:
        """Return the client that kombu makes of the broker's URL, whatever that asks for."""
        from kombu.connection import Connection

        if self._client is None:
            self.close()  # one that was begun and came to nothing
            self._connection = Connection(  # type: ignore[no-untyped-call]  # kombu has no types
                self._url, transport_options=dict(REDIS_OPTIONS)
            )
            self._client = self._connection.channel().client
        return self._client


def _still_owed(until: Mapping[str, float], now: float) -> dict[str, float]:
    return {name: end for name, end in until.items() if end > now}


def open_ledger(settings: Settings, secret: bytes) -> RedisLedger | FileLedger:
    """Return the ledger that all processes with these settings share.

    Args:
        settings: of the service.
        secret: under its keys' digests, by which one service is told from another.
    """
    if settings.redis_url:
        return RedisLedger(settings.redis_url, digest(secret, "rates")[:16])
    return FileLedger(settings.rates_file)
