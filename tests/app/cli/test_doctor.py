"""`sats doctor` as a user runs it."""

import errno
import getpass
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import write_session
from app.db.migrate import is_current
from app.doctor import examination
from app.storage.local import NOT_THERE
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


def test_a_database_that_a_newer_release_migrated_is_left_to_it(run, engine, left):
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for words in (("doctor",), ("doctor", "--repair"), ("gc",)):
        answer = run(*words)
        assert (answer.exit_code, answer.stdout) == (2, ""), words
        assert "a newer release has migrated the database" in answer.stderr
    assert left.exists()


@pytest.mark.usefixtures("logs_of_its_own")
@pytest.mark.parametrize("words", [("doctor",), ("doctor", "--repair"), ("gc",)], ids=" ".join)
def test_a_store_that_is_not_mounted_is_said_and_not_made(run, settings, left, words):
    away = settings.blob_dir.with_name("away")
    settings.blob_dir.rename(away)
    settings.blob_dir.mkdir()
    answer = run(*words)
    assert (answer.exit_code, answer.stdout) == (2, "")
    said = f"sats: the blob store cannot be read: {NOT_THERE}"
    assert answer.stderr.splitlines()[-1] == said
    assert list(settings.blob_dir.iterdir()) == []


@pytest.mark.usefixtures("logs_of_its_own")
def test_what_may_not_be_removed_keeps_nothing_else(run, settings, left, monkeypatch):
    (settings.data_dir / "tmp" / "held").mkdir(parents=True)
    os.utime(settings.data_dir / "tmp" / "held", (1.0, 1.0))

    unlink = Path.unlink

    def refuses(path, missing_ok=False):
        if path == left:  # of another user, where whoever tests may not be an administrator
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    answer = run("doctor", "--repair", "--json")
    assert answer.exit_code == 1, answer.output
    said = json.loads(answer.stdout)
    assert [one["kind"] for one in said["repaired"]] == ["temporary-left"]
    assert [one["kind"] for one in said["findings"]] == ["blob-orphan"]
    assert "not_repaired" in answer.stderr


def test_folders_that_cannot_be_read_are_one_line(run, engine, monkeypatch):
    def refuses(*_args):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "work")

    checks = tuple(replace(one, find=refuses) for one in examination.CHECKS[-1:])
    monkeypatch.setattr(examination, "CHECKS", checks)
    answer = run("doctor")
    assert (answer.exit_code, answer.stdout) == (2, "")
    said = "sats: the service's files cannot be read: [Errno 13] Permission denied: 'work'\n"
    assert answer.stderr == said
