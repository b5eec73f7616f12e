"""What lends databases and queues to the tests, tested."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from app.db import make_engine, write_session
from app.registry.service import ensure_model, find_model
from tests.fixtures.databases import database_of
from tests.fixtures.servers import numbered


@pytest.fixture
def lent(databases, postgres_url):
    """Names and engines of databases, one after another, each given back before the next."""

    def use(what):
        name = databases.take()
        engine = make_engine(database_of(postgres_url, name))
        try:
            return name, what(engine)
        finally:
            databases.give_back(name)
            engine.dispose()

    return use


def oid(engine):
    with engine.connect() as connection:
        query = "SELECT oid FROM pg_database WHERE datname = current_database()"
        return connection.scalar(text(query))


def add_model(engine):
    with write_session(engine) as session:
        ensure_model(session, "default")
    return oid(engine)


def models(engine):
    with write_session(engine) as session:
        return oid(engine), find_model(session, "default")


def test_the_same_database_is_new_and_empty_under_another_name(lent):
    name, first = lent(add_model)
    other, (second, found) = lent(models)
    assert (second, found) == (first, None)
    assert other != name


def test_who_still_holds_it_is_out(lent, postgres_url):
    held = []

    def hold(engine):
        held.append(create_engine(engine.url).connect())

    lent(hold)
    with pytest.raises(OperationalError):
        held[0].execute(text("SELECT 1"))


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX uq_tasks_running_model_id",
        "ALTER TABLE audit_entries DISABLE TRIGGER USER",
        "ALTER TABLE tasks RENAME COLUMN spec TO wish",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
def test_one_that_was_changed_is_not_lent_again(lent, change):
    def changed(engine):
        with engine.execution_options(write=True).begin() as connection:
            connection.execute(text(change))
        return oid(engine)

    _, first = lent(changed)
    _, second = lent(oid)
    assert second != first


@pytest.mark.parametrize(
    ("url", "third"),
    [
        ("redis://host", "redis://host/2"),
        ("redis://host:6379/", "redis://host:6379/2"),
        ("redis://:word@host:6379/4?timeout=3", "redis://:word@host:6379/6?timeout=3"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=2"),
        ("redis+socket:///run/r.sock?virtual_host=1", "redis+socket:///run/r.sock?virtual_host=3"),
    ],
)
def test_processes_that_test_at_once_have_a_queue_each(url, third):
    assert numbered(url, 2) == third
