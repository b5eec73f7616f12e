"""Alembic's entry: the tables of `app.db` against the database of the settings."""

from alembic import context
from sqlalchemy import Connection

from app.db import Base, make_engine
from app.settings import get_settings


def migrate(connection: Connection) -> None:
    """Run what was asked for in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("these migrations look at the database: run them without --sql")

given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    settings = get_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.resolved_database_url, settings.database_limits)
    with engine.execution_options(write=True).connect() as opened:
        migrate(opened)
        opened.commit()
    engine.dispose()
