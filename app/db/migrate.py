"""Bring a database to the newest tables."""

from functools import cache
from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

_LOCK = 0x53415453  # "SATS"


def migration_config() -> Config:
    """Return Alembic's configuration, wherever the package is installed."""
    config = Config()
    with as_file(files("migrations")) as folder:
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest revision; processes that start at once take turns.

    One that a newer version of the service brought further is left as it is. A turn, and a
    statement of it, may take long. A table's lock may not: whoever wants the table waits behind it.
    """
    config = migration_config()
    with engine.execution_options(write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
        if not _is_current(connection):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def is_current(engine: Engine) -> bool:
    """Return whether the database is at the newest revision that this version knows, or further.

    Further is a newer version's doing, whose migrations this one can live with
    (docs/upgrading.md).
    """
    with engine.connect() as connection:
        return _is_current(connection)


def _is_current(connection: Connection) -> bool:
    # Revisions are numbers of four digits.
    return (MigrationContext.configure(connection).get_current_revision() or "") >= _newest()


@cache
def _newest() -> str:
    return str(ScriptDirectory.from_config(migration_config()).get_current_head())
