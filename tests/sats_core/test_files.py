"""What is written whole is on the disk before it has its name."""

import os
from pathlib import Path

import pytest

from sats_core.files import whole, write_whole
from sats_core.record import Record
from sats_core.training.results import write_result


class Answer(Record):
    number: int


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed, in order."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        fsync(handle)

    def replaced(path: Path, target: Path) -> Path:
        calls.append(f"rename {path.name} to {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    return calls


def test_bytes_are_synced_before_the_name_and_the_name_after(
    tmp_path: Path, done: list[str]
) -> None:
    write_whole(tmp_path / "a", b"one")
    assert done == ["sync a.partial", "rename a.partial to a", f"sync {tmp_path.name}"]
    assert (tmp_path / "a").read_bytes() == b"one"


def half(path: Path) -> None:
    path.write_bytes(b"tw")
    raise OSError("no room")


def test_after_an_error_all_is_as_it_was(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"one")
    with pytest.raises(OSError, match="no room"), whole(tmp_path / "a") as partial:
        half(partial)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"one"}


def test_what_a_crash_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.partial").write_bytes(b"much longer than what comes")
    write_whole(tmp_path / "a", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_result_is_the_last_on_the_disk(tmp_path: Path, done: list[str]) -> None:
    (tmp_path / "version").mkdir()
    for name in ("held_out.zip", "memory.zip"):
        (tmp_path / name).write_bytes(b"pictures")
    write_result(tmp_path, Answer(number=3))
    assert set(done[:2]) == {"sync held_out.zip", "sync memory.zip"}
    assert done[2] == "sync result.json.partial"
    assert Answer.model_validate_json((tmp_path / "result.json").read_bytes()).number == 3
