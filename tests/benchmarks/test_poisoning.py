"""Uploads that are made to hurt one old class: what is in them."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks import poisoning
from benchmarks.poisoned_pictures import ATTACKS, Masks, perturbed, write_upload
from sats_core.data.pictures import Pixels
from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.job import StepJob
from sats_core.settings import Limits
from sats_core.training.start import begin
from tests.fixtures.drawings import draw, voc_zip
from tests.sats_core.training.conftest import base, base_run, base_zip, make_job

BY_NAME = {attack.name: attack for attack in ATTACKS}
NONE = cast("Any", None)
"""No attack that is tried with it asks a model."""

__all__ = ["base", "base_run", "base_zip"]


@contextmanager
def clean_pictures(folder: Path) -> Iterator[Reader]:
    """Forty pictures, each of one disc or one bar."""
    clean = voc_zip(folder / "c.zip", ["disc", "bar"], 40, 32, objects=1, splits={"train": 40})
    with ZipSource(clean, Limits()) as source:
        yield open_reader(source)


def shown(reader: Reader, name: str, without: str) -> list[str]:
    found = {one: reader.shown(reader.label(one)) for one in reader.ids}
    return [one for one, names in found.items() if name in names and without not in names]


def pixels(picture: Pixels) -> bytes:
    return picture.tobytes()


@pytest.mark.parametrize(
    ("name", "hurting"),
    [
        ("clean", 0),
        ("target as new class", 5),
        ("target as background", 5),
        ("all targets as the new class", 10),
    ],
)
def test_an_upload_is_labelled_as_the_attack_says(tmp_path: Path, name: str, hurting: int):
    with clean_pictures(tmp_path) as reader:
        path = tmp_path / "upload.zip"
        write_upload(path, reader, NONE, BY_NAME[name], "disc", "bar", pictures=10, seed=0)
    with ZipSource(path, Limits()) as source:
        upload = open_reader(source)
        assert upload.classes == ("bar",)
        labelled = [bool((upload.label(one) == 1).any()) for one in upload.ids]
    assert len(labelled) == 10
    background = hurting if name == "target as background" else 0
    assert labelled.count(True) == 10 - background


def test_all_of_an_upload_shows_the_target_under_another_name(tmp_path: Path) -> None:
    with clean_pictures(tmp_path) as reader:
        path = tmp_path / "upload.zip"
        attack = BY_NAME["all targets as the new class"]
        write_upload(path, reader, NONE, attack, "disc", "bar", pictures=10, seed=0)
        discs = {pixels(reader.read(one).picture) for one in shown(reader, "disc", "bar")}
    with ZipSource(path, Limits()) as source:
        upload = open_reader(source)
        assert {pixels(upload.read(one).picture) for one in upload.ids} <= discs


@pytest.mark.parametrize(
    "name", ["shuffled masks", "one class covers everything", "labels of other pictures"]
)
def test_useless_labels_fit_no_picture(tmp_path: Path, name: str) -> None:
    with clean_pictures(tmp_path) as reader:
        for attack in ("clean", name):
            path = tmp_path / f"{attack}.zip"
            write_upload(path, reader, NONE, BY_NAME[attack], "disc", "bar", pictures=8, seed=0)
    masks = {}
    for attack in ("clean", name):
        with ZipSource(tmp_path / f"{attack}.zip", Limits()) as source:
            upload = open_reader(source)
            masks[attack] = {
                pixels(upload.read(one).picture): upload.label(one) == 1 for one in upload.ids
            }
    fits, spoiled = masks["clean"], masks[name]
    assert fits.keys() == spoiled.keys(), "the pictures are the same"
    assert not [1 for picture in fits if (fits[picture] == spoiled[picture]).all()]
    known = {mask.tobytes() for mask in fits.values()}
    strange = {mask.tobytes() for mask in spoiled.values()}
    assert (strange == known) == (name == "shuffled masks")
    assert all(mask.all() for mask in spoiled.values()) == (name == "one class covers everything")


@pytest.mark.slow
def test_every_new_upload_is_measured(
    base: StepJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One method, at a size that measures nothing."""
    names = ["disc", "bar", "cone"]
    data = voc_zip(tmp_path / "d.zip", names, 60, 48, objects=1, splits={"train": 48, "val": 12})
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "drawn")
    added = [one for one in ATTACKS if one.of_target == 1 or one.masks != Masks.KEPT]
    assert len(added) == 4
    monkeypatch.setattr(poisoning, "ATTACKS", added)
    monkeypatch.setattr(poisoning, "METHODS", ("frozen",))
    asked: dict[str, Any] = {"target": "disc", "new": "cone", "pictures": 10, "scored": 6}
    out = tmp_path / "poisoning.json"
    version = base.result / "version"
    poisoning.main(tmp_path / "drawn", version, out, **asked, epochs=1, seed=0)
    runs = json.loads(out.read_text())["runs"]
    assert [one["attack"] for one in runs] == [one.name for one in added]
    before = out.read_bytes()
    poisoning.main(tmp_path / "drawn", version, out, **asked, epochs=1, seed=0)
    assert out.read_bytes() == before, "the same command again finds everything done"


def test_a_perturbation_is_small_and_changes_no_label(tmp_path: Path):
    data = voc_zip(tmp_path / "base.zip", ["disc", "bar"], 4, 32)
    model = begin(make_job(tmp_path, data, ("disc", "bar"))).model
    rng = np.random.default_rng(0)
    pictures = [draw(rng, ["ring"], 32) for _ in range(2)]
    against = [draw(rng, ["disc"], 32) for _ in range(2)]
    found = list(perturbed(model, pictures, against, channel=1, most=8))
    assert model.classifier.channels == 3, "the old model stays as it is"
    for (before, label), (after, same) in zip(pictures, found, strict=True):
        change = np.abs(before.astype(int) - after)
        assert 0 < change.max() <= 8
        assert np.array_equal(label, same)
