"""Engine and sessions. Who opens a session commits it; services only flush."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pydantic_core import from_json
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    make_url,
    select,
)
from sqlalchemy.orm import Session

from app.db.base import database_time
from app.db.faults import is_read_only
from app.db.limits import DatabaseLimits

SQLITE_WAIT_SECONDS = 30


KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}
"""A connection whose server is gone without a word breaks after a minute at most."""


def make_engine(url: str, limits: DatabaseLimits | None = None) -> Engine:
    """Return an engine for a SQLite or Postgres URL, set up for many short transactions.

    What the URL says itself, `?connect_timeout=3` for instance, is left as it is.
    """
    limits = limits or DatabaseLimits()
    sqlite = url.startswith("sqlite")
    engine = create_engine(
        url,
        pool_size=limits.connections,
        max_overflow=0,
        pool_timeout=limits.connect_seconds,
        pool_pre_ping=not sqlite,
        # SQLite would give all rows of one INSERT the same `next_task`.
        use_insertmanyvalues=not sqlite,
        json_deserializer=_read_json,
        connect_args=_SQLITE if sqlite else _postgres_arguments(make_url(url), limits),
    )
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "handle_error", _open_again)
    return engine


_SQLITE = {"timeout": SQLITE_WAIT_SECONDS, "check_same_thread": False}


def _read_json(text: str | bytes) -> Any:
    """Return what a JSON column holds, in half the time that the standard library takes."""
    try:
        return from_json(text)
    except ValueError:  # half of a surrogate pair, which the standard library writes and reads
        return json.loads(text)


def _postgres_arguments(url: URL, limits: DatabaseLimits) -> dict[str, Any]:
    timeouts = {
        "lock_timeout": limits.lock_seconds,
        "statement_timeout": limits.statement_seconds,
        "idle_in_transaction_session_timeout": limits.idle_seconds,
    }
    options = [f"-c {name}={round(1000 * seconds)}" for name, seconds in timeouts.items()]
    given = url.query.get("options", "")
    ours = KEEPALIVES | {"connect_timeout": limits.connect_seconds}
    # Of an option that is said twice the last one holds.
    return {name: value for name, value in ours.items() if name not in url.query} | {
        "options": " ".join([*options, given if isinstance(given, str) else " ".join(given)])
    }


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling is switched off: it begins too late for reads.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    # Its own one knows A to Z alone: `text=` would find no "Ärger" by "ärger".
    connection.create_function("lower", 1, _lower, deterministic=True)


def _open_again(context: ExceptionContext) -> None:
    # SQLite opens a file to read alone where it may not write it, and stays so when it may again.
    if is_read_only(context.original_exception):
        context.is_disconnect = True


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: a read that turns into a write cannot wait, it fails.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def read_session(engine: Engine) -> Iterator[Session]:
    """Open a session that only reads; it is rolled back at the end."""
    with Session(engine, expire_on_commit=False) as session:
        yield session


@contextmanager
def write_session(engine: Engine) -> Iterator[Session]:
    """Open one transaction; commits at the end, rolls back on an error."""
    with Session(engine.execution_options(write=True), expire_on_commit=False) as session:
        yield session
        session.commit()


def present(session: Session) -> datetime:
    """Return the time by the *database's* clock: what goes by its age goes by the one clock that
    all hosts share, whatever theirs say."""
    return session.scalars(select(database_time())).one()
