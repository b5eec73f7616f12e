"""Temporary folders: gone at their process's end, or once the next one is made."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sats_core.data.readers.disk_index import DiskIndex
from sats_core.scratch import GRACE_SECONDS, PREFIX, Scratch, sweep

HOLD = """
import sys
from pathlib import Path
from sats_core.scratch import Scratch
made = Scratch("held", Path(sys.argv[1]))
(made.path / "pictures").write_bytes(b"much")
print(made.path, flush=True)
sys.stdin.read()
"""


def aged(path: Path) -> Path:
    """Make a folder look as if it had been left alone for a while."""
    long_ago = path.stat().st_mtime - 2 * GRACE_SECONDS
    os.utime(path, (long_ago, long_ago))
    return path


def held(folder: Path) -> tuple[Path, "subprocess.Popen[str]"]:
    """Have another process make a folder, and go on."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(words, stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    return Path(process.stdout.readline().strip()), process


def test_it_is_gone_at_the_end(tmp_path: Path) -> None:
    with Scratch("test", tmp_path) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path: Path) -> None:
    left, process = held(tmp_path)
    with process:
        try:
            sweep(tmp_path)
            aged(left)
            sweep(tmp_path)
            assert (left / "pictures").exists(), "its process lives"
        finally:
            process.kill()
    with Scratch("next", tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_what_was_made_just_now_stays(tmp_path: Path) -> None:
    young = tmp_path / f"{PREFIX}young-1"
    young.mkdir()
    sweep(tmp_path)
    assert young.exists(), "its process may be about to lock it"
    aged(young)
    sweep(tmp_path)
    assert not young.exists()


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    others = tmp_path / "elsewhere"
    (others / "kept").mkdir(parents=True)
    within = tmp_path / "tmp"
    within.mkdir()
    (within / f"{PREFIX}link-1").symlink_to(others, target_is_directory=True)
    (within / f"{PREFIX}file-1").touch()
    (within / "sats-of-somebody").mkdir()
    for path in (others, within / f"{PREFIX}file-1", within / "sats-of-somebody"):
        aged(path)
    sweep(within)
    assert len(list(within.iterdir())) == 3
    assert (others / "kept").exists()


def test_another_user_s_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / f"{PREFIX}theirs-1"
    theirs.mkdir()
    aged(theirs)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    sweep(tmp_path)
    assert theirs.exists()


def test_where_nothing_is_there_is_nothing_to_remove(tmp_path: Path) -> None:
    sweep(tmp_path / "no-such-folder")


def test_an_index_lies_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    index = DiskIndex()
    assert [one.name.startswith(PREFIX) for one in tmp_path.iterdir()] == [True]
    del index
    assert list(tmp_path.iterdir()) == []
