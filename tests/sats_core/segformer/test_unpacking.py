"""Checkpoints that come as zips."""

import json
import zipfile
from pathlib import Path

import pytest

from sats_core.errors import DatasetError, ModelError
from sats_core.segformer.config import read_checkpoint
from sats_core.segformer.unpacking import checkpoint_config, unpack
from sats_core.settings import Limits
from tests.sats_core.segformer.test_config import CONFIG, SHOWN

FILES = {
    "config.json": json.dumps(CONFIG),
    "preprocessor_config.json": json.dumps(SHOWN),
    "model.safetensors": "weights",
}


def zipped(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("folder", ["", "my-model/"])
def test_the_files_are_found_at_the_root_and_one_folder_down(tmp_path: Path, folder: str) -> None:
    beside = {"README.md": "hello", "training/log.txt": "loss", "run.py": "import os"}
    files = {folder + name: content for name, content in (FILES | beside).items()}
    path = zipped(tmp_path / "a.zip", files | {"__MACOSX/config.json": "{}"})
    unpack(path, Limits(), tmp_path / "out")
    assert {f.name: f.read_text() for f in (tmp_path / "out").iterdir()} == FILES
    assert read_checkpoint(*checkpoint_config(path, Limits())).labels[1] == "cat"


def test_what_lay_there_before_is_gone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors.index.json").write_text("{}")
    unpack(zipped(tmp_path / "a.zip", FILES), Limits(), tmp_path / "out")
    assert {f.name for f in (tmp_path / "out").iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.safetensors": ""}, "this one has none"),
        ({"a/config.json": "", "b/config.json": ""}, "2 folders with one"),
        ({"../config.json": ""}, "climbs out"),
        ({f"m-{i}.safetensors": "" for i in range(200)} | FILES, "more than 100 weight files"),
    ],
)
def test_other_zips_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    path = zipped(tmp_path / "a.zip", files)
    with pytest.raises(DatasetError, match=message):
        unpack(path, Limits(), tmp_path / "out")


def test_no_zip_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_text("no zip")
    with pytest.raises(DatasetError, match="the checkpoint is not a zip file"):
        unpack(path, Limits(), tmp_path / "out")


def test_a_config_of_any_size_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", " " * 50_000_000)
    said, shown = checkpoint_config(tmp_path / "a.zip", Limits())
    assert len(said) < 2_000_000
    assert shown is None
    with pytest.raises(ModelError, match="larger than"):
        read_checkpoint(said, shown)


def test_weights_larger_than_a_picture_may_be_are_taken(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    unpack(path, Limits(max_file_bytes=10), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()
    with pytest.raises(DatasetError, match="unpacks to more than"):
        unpack(path, Limits(max_unpacked_bytes=10), tmp_path / "out")
