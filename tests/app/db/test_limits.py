"""Nothing waits for the database for ever: what takes too long is a 503."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import make_url, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from starlette.testclient import TestClient

import app.admin.endpoints
import app.imports.checking
import app.tasks.service
from app.db import Task, make_engine, write_session
from app.db.limits import DatabaseLimits
from app.keys.secret import read_secret
from app.main import create_app
from app.settings import Settings
from tests.app.tasks.posting import drawn, post
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.versions import add_version
from tests.worker.bench import eventually

served = pytest.mark.parametrize("database_url", ["served"], indirect=True)
embedded = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@contextmanager
def calling(settings: Settings, **changes: Any) -> Iterator[TestClient]:
    """A client of a service with other settings."""
    with TestClient(
        create_app(settings.model_copy(update=changes)),
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50000),
        raise_server_exceptions=False,
    ) as client:
        yield client


def assert_busy(answer):
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2"), answer.text
    assert answer.json()["type"] == "urn:sats:problem:unavailable"


@served
def test_a_lock_that_somebody_holds_is_not_waited_for_for_ever(settings, engine, pets):
    with calling(settings, database_lock_seconds=0.2) as client, engine.begin() as connection:
        task_id = post(client, pets).json()["id"]
        connection.execute(select(Task.id).where(Task.id == task_id).with_for_update())
        assert_busy(client.post(f"/tasks/{task_id}:cancel"))
        connection.rollback()
        assert client.post(f"/tasks/{task_id}:cancel").status_code == 202


@served
def test_a_database_that_is_read_only_for_a_while_is_not_a_bug(settings, engine, pets):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    with calling(settings) as client:
        assert_busy(post(client, pets))


def test_a_pool_that_gives_no_connection_is_not_waited_for_for_ever(settings):
    with calling(settings, database_connections=1, database_connect_seconds=1) as client:
        with client.app.state.services.engine.connect():
            assert_busy(client.get("/tasks"))
        assert client.get("/tasks").status_code == 200


def test_no_connection_is_held_while_files_are_read(
    settings, engine, blobs, pets, monkeypatch, tmp_path
):
    """Of a pool of one connection the one is free meanwhile."""
    with calling(settings, database_connections=1, database_connect_seconds=1) as client:
        with write_session(engine) as session:
            add_version(session, blobs, ["cat"])
        seen = []

        def calls_meanwhile(module, name):
            slow = getattr(module, name)

            def run(*args):
                seen.append((name, client.get("/tasks").status_code))
                return slow(*args)

            monkeypatch.setattr(module, name, run)

        calls_meanwhile(app.admin.endpoints, "version_file")
        calls_meanwhile(app.tasks.service, "posted_classes")
        calls_meanwhile(app.imports.checking, "posted_classes")
        calls_meanwhile(app.imports.checking, "checkpoint_config")
        assert client.get("/admin/models/default/versions/1/files/model.onnx").status_code == 200
        assert post(client, drawn(tmp_path, "dog")).status_code == 202
        files = {"checkpoint": checkpoint_zip(["cat", "dog"]), "evaluate": pets.read_bytes()}
        answer = client.post(
            "/admin/models/other/versions", files=files, data={"spec": '{"create": true}'}
        )
        assert answer.status_code == 202, answer.text
    calls = ["version_file", "posted_classes", "checkpoint_config", "posted_classes"]
    assert seen == [(name, 200) for name in calls]


@embedded
def test_a_server_that_takes_the_connection_and_is_silent_is_given_up(settings):
    read_secret(settings)  # a new host, which has none, may not make one without asking
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"postgresql+psycopg://sats@127.0.0.1:{deaf.getsockname()[1]}/sats"
        with calling(settings, database_url=url, database_connect_seconds=2) as client:
            assert_busy(client.get("/tasks"))


@served
def test_a_statement_that_takes_too_long_is_ended(engine):
    hasty = make_engine(
        engine.url.render_as_string(hide_password=False), DatabaseLimits(statement_seconds=0.2)
    )
    with hasty.connect() as connection, pytest.raises(OperationalError, match="statement timeout"):
        connection.execute(text("SELECT pg_sleep(60)"))
    hasty.dispose()


@served
def test_a_transaction_in_which_nothing_is_done_is_ended(engine):
    url = engine.url.render_as_string(hide_password=False)
    hanging = make_engine(url, DatabaseLimits(idle_seconds=0.2))
    watch = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    there = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
    connection = hanging.connect()
    pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with watch:
        eventually(lambda: watch.scalar(there, {"pid": pid}) == 0)
    with pytest.raises(DBAPIError, match="idle"):
        connection.execute(text("SELECT 1"))
    connection.invalidate()
    connection.close()
    hanging.dispose()


@served
def test_what_the_url_says_itself_holds(engine):
    url = make_url(engine.url).update_query_dict(
        {"keepalives_idle": "7", "options": "-c lock_timeout=700"}
    )
    own = make_engine(url.render_as_string(hide_password=False))
    with own.connect() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "700ms"
        assert connection.scalar(text("SHOW statement_timeout")) == "30s"
        used = connection.connection.dbapi_connection.info.get_parameters()
    assert (used["keepalives_idle"], used["keepalives_interval"]) == ("7", "10")
    assert used["connect_timeout"] == "5"
    own.dispose()


@embedded
def test_sqlite_waits_for_its_one_writer_and_lets_readers_go_on(engine):
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA busy_timeout")) == 30_000
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
