from alembic import command
from sqlalchemy import inspect, text

from app.db import Base
from app.db.migrate import is_current, migration_config, upgrade


def test_migrations_and_tables_agree(engine):
    config = migration_config()
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_upgrade_from_empty_and_back(engine):
    config = migration_config()
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    assert not is_current(engine)
    upgrade(engine)
    assert is_current(engine)
    assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_upgrade_twice_changes_nothing(engine):
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(
            text("INSERT INTO models (name, created_at) VALUES ('kept', '2026-01-01')")
        )
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT name FROM models")) == "kept"
