"""Bring a database to the newest tables.

Alembic is imported where there is something to migrate: every process asks whether there is.
"""

import re
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from app.db.filling import fill_names

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK = 0x53415453  # "SATS"
_SCRIPT = re.compile(r"(\d{4})_\w+\.py")
"""A migration's file; its number is the revision."""

log = structlog.get_logger(__name__)


def migration_config() -> "Config":
    """Return Alembic's configuration, wherever the package is installed."""
    from alembic.config import Config

    config = Config()
    with as_file(files("migrations")) as folder:
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest revision; processes that start at once take turns.

    One that a newer version of the service brought further is left as it is. A turn, and a
    statement of it, may take long. A table's lock may not: whoever wants the table waits behind it.
    What new columns are to hold of rows that were there is written after it (`app.db.filling`), or
    not: they are read as before then.
    """
    if is_current(engine):  # nobody waits for a turn, and a database may be read-only
        return
    with engine.execution_options(write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
        if _is_current(connection):
            return
        _migrate(connection)
    try:
        fill_names(engine)
    except SQLAlchemyError as error:
        log.warning("names_not_filled", error=str(error))


def _migrate(connection: Connection) -> None:
    from alembic import command

    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_current(engine: Engine) -> bool:
    """Return whether the database is at the newest revision that this version knows, or further.

    Further is a newer version's doing, whose migrations this one can live with
    (docs/upgrading.md).
    """
    with engine.connect() as connection:
        return _is_current(connection)


def is_newer(engine: Engine) -> bool:
    """Return whether a newer version of the service has brought the database further."""
    return revision(engine) > _newest()


def revision(engine: Engine) -> str:
    """Return the revision of a database's tables; "" where there are none."""
    with engine.connect() as connection:
        return _revision(connection)


def _is_current(connection: Connection) -> bool:
    return _revision(connection) >= _newest()


def _revision(connection: Connection) -> str:
    """Return the revision that Alembic has noted; "" where it was never here."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.scalar(text("SELECT version_num FROM alembic_version")) or ""


@cache
def _newest() -> str:
    names = (file.name for file in files("migrations.versions").iterdir())
    return max(found[1] for name in names if (found := _SCRIPT.fullmatch(name)))
