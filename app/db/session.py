"""Engine and sessions. Who opens a session commits it; services only flush."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

SQLITE_WAIT_SECONDS = 30
POSTGRES_WAIT_SECONDS = 5
"""For a connection, unless the URL says otherwise."""


def make_engine(url: str) -> Engine:
    """Return an engine for a SQLite or Postgres URL, set up for many short transactions."""
    if not url.startswith("sqlite"):
        # A host that is gone answers nothing: without a bound every thread would wait for it.
        bound = {"connect_timeout": POSTGRES_WAIT_SECONDS} | dict(make_url(url).query)
        return create_engine(url, pool_pre_ping=True, connect_args=bound)
    engine = create_engine(
        url, connect_args={"timeout": SQLITE_WAIT_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling is switched off: it begins too late for reads.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


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
