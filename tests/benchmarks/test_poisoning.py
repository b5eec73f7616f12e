"""Uploads that are made to hurt one old class: what is in them."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.poisoned_pictures import ATTACKS, perturbed, write_upload
from sats_core.data.readers import open_reader
from sats_core.data.sources import ZipSource
from sats_core.settings import Limits
from sats_core.training.start import begin
from tests.fixtures.drawings import draw, voc_zip
from tests.sats_core.training.conftest import make_job

BY_NAME = {attack.name: attack for attack in ATTACKS}


@pytest.mark.parametrize(
    ("name", "hurting"),
    [("clean", 0), ("target as new class", 5), ("target as background", 5)],
)
def test_an_upload_is_labelled_as_the_attack_says(tmp_path: Path, name: str, hurting: int):
    clean = voc_zip(
        tmp_path / "clean.zip", ["disc", "bar"], 40, 32, objects=1, splits={"train": 40}
    )
    none = cast("Any", None)  # no attack here asks a model
    with ZipSource(clean, Limits()) as source:
        reader = open_reader(source)
        path = tmp_path / "upload.zip"
        write_upload(path, reader, none, BY_NAME[name], "disc", "bar", pictures=10, seed=0)
    with ZipSource(path, Limits()) as source:
        upload = open_reader(source)
        assert upload.classes == ("bar",)
        labelled = [bool((upload.label(one) == 1).any()) for one in upload.ids]
    assert len(labelled) == 10
    background = hurting if name == "target as background" else 0
    assert labelled.count(True) == 10 - background


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
