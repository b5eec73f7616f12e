"""Which errors of the database pass."""

import sqlite3

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import is_passing, is_unreachable


def of_sqlite(number):
    error = sqlite3.OperationalError("it said so")
    error.sqlite_errorcode = number
    return error


def wrapped(kind, cause):
    return kind("SELECT", {}, cause)


@pytest.mark.parametrize(
    "cause",
    [
        psycopg.OperationalError("refused"),
        psycopg.errors.AdminShutdown(),
        psycopg.errors.ConnectionFailure(),
        of_sqlite(sqlite3.SQLITE_CANTOPEN),
        of_sqlite(sqlite3.SQLITE_IOERR_READ),
    ],
)
def test_unreachable(cause):
    error = wrapped(OperationalError, cause)
    assert is_unreachable(error)
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        PoolTimeoutError("all connections are taken"),
        wrapped(OperationalError, psycopg.errors.LockNotAvailable()),
        wrapped(OperationalError, psycopg.errors.QueryCanceled()),
        wrapped(OperationalError, psycopg.errors.DeadlockDetected()),
        wrapped(OperationalError, psycopg.errors.TooManyConnections()),
        wrapped(InternalError, psycopg.errors.ReadOnlySqlTransaction()),
        wrapped(InternalError, psycopg.errors.IdleInTransactionSessionTimeout()),
        wrapped(OperationalError, of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT)),
        wrapped(OperationalError, of_sqlite(sqlite3.SQLITE_READONLY_CANTLOCK)),
    ],
)
def test_not_now(error):
    assert is_passing(error)
    assert not is_unreachable(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        wrapped(IntegrityError, psycopg.errors.UniqueViolation()),
        wrapped(InternalError, psycopg.errors.InternalError_()),
        wrapped(OperationalError, of_sqlite(sqlite3.SQLITE_ERROR)),
        wrapped(DBAPIError, Exception("anything")),
    ],
)
def test_what_does_not_pass(error):
    assert not is_passing(error)
