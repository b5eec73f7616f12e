"""Folders as zips."""

import os
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from sats_client._calls import submission
from sats_client.packing import NothingToSendError, checkpoint, everything, packed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my classes"
    (root / "images").mkdir(parents=True)
    (root / "images" / "ä.jpg").write_bytes(b"a picture")
    (root / "classes.txt").write_text("0 background")
    (root / ".DS_Store").write_text("litter")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "x").write_text("litter")
    (root / "round").symlink_to(root, target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(b"a mask")
    (root / "masks").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    return root


def test_a_folder_and_what_its_links_lead_to(folder: Path):
    with ExitStack() as scratch:
        path = packed(folder, scratch, everything)
        assert path.name == "my classes.zip"
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == ["classes.txt", "images/ä.jpg", "masks/1.png"]
            assert archive.read("images/ä.jpg") == b"a picture"
            assert archive.testzip() is None
    assert not path.exists()


def test_what_a_killed_process_left_is_removed(folder: Path, tmp_path: Path):
    within = tmp_path / "temporary"
    left, young = within / "sats-client-left", within / "sats-client-young"
    for one in (left, young):
        one.mkdir(parents=True)
        (one / "x.zip").touch()
    (within / "sats-client-link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    days_ago = left.stat().st_mtime - 2 * 24 * 3600
    os.utime(left, (days_ago, days_ago))
    os.utime(tmp_path / "elsewhere", (days_ago, days_ago))
    with ExitStack() as scratch:
        packed(folder, scratch, everything, within)
    assert sorted(one.name for one in within.iterdir()) == ["sats-client-link", "sats-client-young"]
    assert (tmp_path / "elsewhere" / "1.png").exists()


def test_the_same_folder_is_the_same_zip(folder: Path):
    with ExitStack() as scratch:
        first = packed(folder, scratch, everything).read_bytes()
        (folder / "classes.txt").touch()
        assert packed(folder, scratch, everything).read_bytes() == first


def test_a_zip_is_sent_as_it_is(tmp_path: Path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"anything")
    with ExitStack() as scratch:
        assert packed(path, scratch, everything) == path
    assert path.exists()


def test_nothing_to_send(tmp_path: Path):
    with ExitStack() as scratch:
        with pytest.raises(FileNotFoundError):
            packed(tmp_path / "none.zip", scratch, everything)
        with pytest.raises(NothingToSendError, match="has no file"):
            packed(tmp_path, scratch, everything)


def test_of_a_checkpoint_what_an_import_reads(tmp_path: Path):
    for name in ("config.json", "model.safetensors", "optimizer.pt", "training_args.bin"):
        (tmp_path / name).write_text(name)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_text("of another one")
    assert [name for name, _ in checkpoint(tmp_path)] == ["config.json", "model.safetensors"]
    with_pickles = [name for name, _ in checkpoint(tmp_path, pickles=True)]
    assert with_pickles == ["config.json", "model.safetensors", "training_args.bin"]


def test_the_zip_lies_where_that_is_said(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "room").mkdir()
    with ExitStack() as scratch:
        assert (tmp_path / "room") in packed(
            tmp_path, scratch, checkpoint, tmp_path / "room"
        ).parents
    assert list((tmp_path / "room").iterdir()) == []


def test_a_task_is_called_after_what_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "v1.2").mkdir()
    monkeypatch.chdir(tmp_path / "v1.2")
    for source, name in ((tmp_path / "v1.2", "v1.2"), (".", "v1.2"), ("farm.zip", "farm")):
        assert submission(source, None, {}, None, None).spec == {"name": name}
    assert submission(".", "mine", {}, None, None).spec == {"name": "mine"}
