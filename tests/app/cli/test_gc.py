"""`sats gc` as a user runs it."""

import io
import json
import os

import pytest

from app.db import write_session
from tests.fixtures.versions import add_version

LEFT = b"left behind"


@pytest.fixture
def left(engine, blobs):
    """A version, and beside it a blob that nothing refers to and half a file, both old."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    blob = blobs.path(blobs.put(io.BytesIO(LEFT)).key)
    half = blobs.root / "incoming" / "tmpabc"
    half.write_bytes(b"half")
    for path in (blob, half):
        os.utime(path, (1.0, 1.0))
    return blob, half


def test_what_nothing_refers_to_is_removed(run, left, blobs):
    answer = run("gc")
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        f"removed blob {left[0].name} (11 bytes, blob store)",
        "removed unfinished write tmpabc (4 bytes, blob store)",
        "removed 2 files, 15 bytes",
    ]
    assert not any(path.exists() for path in left)
    assert len(list(blobs.entries())) == 3
    assert run("gc").stdout == "removed 0 files, 0 bytes\n"
    nothing = json.loads(run("gc", "--json").stdout)
    assert nothing == {"removed": True, "bytes": 0, "files": []}


def test_a_dry_run_removes_nothing(run, left):
    answer = run("gc", "--dry-run")
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "would remove 2 files, 15 bytes"
    told = json.loads(run("gc", "--dry-run", "--json").stdout)
    assert (told["removed"], told["bytes"]) == (False, 15)
    assert told["files"] == [
        {"kind": "blob", "name": left[0].name, "bytes": 11, "place": "blob store"},
        {"kind": "unfinished write", "name": "tmpabc", "bytes": 4, "place": "blob store"},
    ]
    assert all(path.exists() for path in left)


def test_the_grace_period_is_a_setting(run, left, monkeypatch):
    monkeypatch.setenv("SATS_GC_GRACE_SECONDS", "1e11")
    assert run("gc").stdout == "removed 0 files, 0 bytes\n"
    assert all(path.exists() for path in left)


def test_the_memory_folder_is_collected_too(run, left, monkeypatch, tmp_path):
    half = tmp_path / "private" / "incoming" / "tmpdef"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    os.utime(half, (1.0, 1.0))
    monkeypatch.setenv("SATS_MEMORY_DIR", str(tmp_path / "private"))
    assert "removed unfinished write tmpdef (4 bytes, memory folder)" in run("gc").stdout
    assert not half.exists()


def test_the_blobs_of_another_database_are_not_removed(run, blobs):
    path = blobs.path(blobs.put(io.BytesIO(LEFT)).key)
    os.utime(path, (1.0, 1.0))
    answer = run("gc")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "the database knows no model" in answer.stderr
    assert path.exists()


@pytest.mark.usefixtures("logs_of_its_own")
@pytest.mark.parametrize("command", ["gc", "doctor"])
def test_a_store_that_is_away_is_told(run, left, blobs, command):
    blobs.root.rename(blobs.root.with_name("away"))
    blobs.root.touch()
    answer = run(command, "--json")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "sats: the blob store cannot be read: Not a directory" in answer.stderr


def test_a_memory_folder_that_is_the_blob_store_is_refused(settings):
    wrong = {"data_dir": settings.data_dir, "memory_dir": settings.blob_dir / "."}
    with pytest.raises(ValueError, match="the blob store's own folder"):
        type(settings)(**wrong)
