"""`sats doctor` as a user runs it."""

import getpass
import io
import json
import os

import pytest
from sqlalchemy import text

from app.db import write_session
from app.db.migrate import is_current
from tests.app.storage.rows import add_task


@pytest.fixture
def left(engine, blobs):
    """An old blob that nothing refers to, beside one that a task needs."""
    needed = blobs.put(io.BytesIO(b"needed")).key
    with write_session(engine) as session:
        add_task(session, needed, "queued")
    left = blobs.path(blobs.put(io.BytesIO(b"left behind")).key)
    os.utime(left, (1.0, 1.0))
    return left


def test_all_is_well(run):
    answer = run("doctor")
    assert (answer.exit_code, answer.stdout) == (0, "all well\n"), answer.stderr


def test_what_is_found_is_said_and_not_touched(run, left):
    answer = run("doctor")
    assert answer.exit_code == 1, answer.stderr
    assert answer.stdout.splitlines() == [
        f"found blob-orphan: blob store, {left.name}: nothing refers to this blob (11 bytes) "
        "(--repair mends it)",
        "1 findings, 0 repaired",
    ]
    assert left.exists()


def test_repair(run, left):
    answer = run("doctor", "--repair", "--json")
    assert answer.exit_code == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert (said["content"], said["findings"]) == (True, [])
    assert said["repaired"] == [
        {
            "kind": "blob-orphan",
            "what": "nothing refers to this blob (11 bytes)",
            "where": f"blob store, {left.name}",
            "repairable": True,
        }
    ]
    assert not left.exists()
    assert json.loads(run("doctor", "--json").stdout)["content"]


def test_the_audit_log_says_which_user_repaired(run, engine, blobs, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "somebody")
    with write_session(engine) as session:
        task = add_task(session, blobs.put(io.BytesIO(b"needed")).key, "failed")
        task.error = [{"message": "why"}]
        task.finished_at = None
    answer = run("doctor", "--repair")
    assert answer.exit_code == 0, answer.output
    (entry,) = json.loads(run("audit", "list", "--json").stdout)
    assert entry["actor"] == {"type": "cli", "name": "somebody"}


def test_a_database_of_another_revision_is_refused_and_left_as_it_is(run, engine):
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = run("doctor")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "sats migrate" in answer.stderr
    assert not is_current(engine)


def test_no_database_is_made(run, monkeypatch, tmp_path):
    monkeypatch.delenv("SATS_DATABASE_URL")
    monkeypatch.setenv("SATS_DATA_DIR", str(tmp_path / "elsewhere"))
    answer = run("doctor")
    assert answer.exit_code == 2
    assert "there is no database" in answer.stderr
    assert not (tmp_path / "elsewhere").exists()
