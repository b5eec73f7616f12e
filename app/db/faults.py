"""Which errors are the database's own, and pass: said once, for requests and for workers."""

import sqlite3

from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_GONE = ("57P", "080")
"""Of Postgres: it shuts down, or the connection broke."""
_SQLITE_GONE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)

_NOT_NOW = ("40001", "40P01", "55P03", "57014", "25006", "25P03")
"""Of Postgres: conflicts, locks and statements that take too long; a database that is read-only for
a while, as in a failover; a transaction that was ended because nothing was done in it. Its driver
calls the last two internal errors."""
_NO_ROOM = "53"
"""Of Postgres: no connection, memory or disk space left."""
_SQLITE_NOT_NOW = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
)
_SQLITE_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_unreachable(error: BaseException) -> bool:
    """Whether nobody answered: the database restarts, or is gone."""
    if not isinstance(error, OperationalError):
        return False
    number = _sqlite_number(error.orig)
    if number is not None:
        return number in _SQLITE_GONE
    state = _state(error)
    return state is None or state.startswith(_GONE)


def is_passing(error: BaseException) -> bool:
    """Whether the database, and not what was asked of it, is at fault: later it may be answered.

    It is unreachable, has no time or no room, or all the process's own connections are taken.
    """
    if isinstance(error, PoolTimeoutError) or is_unreachable(error):
        return True
    if not isinstance(error, OperationalError | InternalError):
        return False
    if _sqlite_number(error.orig) in _SQLITE_NOT_NOW:
        return True
    state = _state(error) or ""
    return state in _NOT_NOW or state.startswith(_NO_ROOM)


def is_damaged(error: BaseException) -> bool:
    """Whether SQLite says that its file is damaged, or none of its."""
    return isinstance(error, DBAPIError) and _sqlite_number(error.orig) in _SQLITE_DAMAGED


def is_read_only(error: BaseException | None) -> bool:
    """Whether SQLite's driver says that it may not write: the file, or its disk, is read-only."""
    return _sqlite_number(error) == sqlite3.SQLITE_READONLY


def said_by(error: SQLAlchemyError) -> str:
    """Return what the database said, in one line: without the statement that it said it of."""
    return str(error.orig if isinstance(error, DBAPIError) else error)


def _state(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def _sqlite_number(said: BaseException | None) -> int | None:
    """Return SQLite's number of its driver's error, without the bits that tell its kinds apart."""
    number: int | None = getattr(said, "sqlite_errorcode", None)
    return None if number is None else number & 0xFF
