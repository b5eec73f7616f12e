"""What every table stands on: constraint names, UTC times, the database's own clock."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    MetaData,
    TypeDecorator,
    or_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.sql.functions import FunctionElement

from app.db.actor import Actor, ActorColumn

JsonObject = dict[str, Any]


class Base(DeclarativeBase):
    """Root of all tables; Alembic compares the database with its metadata."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        JsonObject: JSON,
        list[str]: JSON,
        list[JsonObject]: JSON,
        Actor: ActorColumn,
    }


def utc_text(time: datetime) -> str:
    """Return a time in UTC as every answer spells it, RFC 3339 with a Z."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite forgets the zone, this gives it back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive time cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Give back an aware time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """Return the present as an aware time."""
    return datetime.now(UTC)


class database_time(FunctionElement[datetime]):  # noqa: N801
    """The present on the *database's* clock, as `UtcDateTime` stores it."""

    type = UtcDateTime()
    inherit_cache = True


class next_task(FunctionElement[int]):  # noqa: N801
    """A number over that of every task; who posts tasks of one model at once takes turns."""

    type = BigInteger()
    inherit_cache = True


class database_now(FunctionElement[float]):  # noqa: N801
    """Seconds since 1970 on the *database's* clock.

    Leases are compared on this one clock, so that workers whose clocks differ agree.
    """

    type = Float()
    inherit_cache = True


SLACK_SECONDS = 600.0
"""By how much a clock is corrected without a word."""


def has_come(
    when: InstrumentedAttribute[float] | InstrumentedAttribute[float | None], longest: float
) -> ColumnElement[bool]:
    """Whether a time on the database's clock has come; none comes never.

    One that lies further ahead than any is set was set before the clock went back. It is not waited
    for: it may be years.

    Args:
        when: the column.
        longest: seconds that it is ever set ahead.
    """
    now = database_now()
    return or_(when <= now, when > now + longest + SLACK_SECONDS)


@compiles(database_now, "sqlite")
def _sqlite_now(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _postgres_now(_element: Any, _compiler: Any, **_kw: Any) -> str:
    # clock_timestamp, not now(): now() stands still inside a transaction.
    return "extract(epoch from clock_timestamp())"


@compiles(database_time, "sqlite")
def _sqlite_time(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


@compiles(database_time, "postgresql")
def _postgres_time(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "clock_timestamp()"


@compiles(next_task, "sqlite")
def _sqlite_next(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "(SELECT COALESCE(MAX(sequence), 0) + 1 FROM tasks)"


@compiles(next_task, "postgresql")
def _postgres_next(_element: Any, _compiler: Any, **_kw: Any) -> str:
    return "nextval('tasks_sequence_seq')"
