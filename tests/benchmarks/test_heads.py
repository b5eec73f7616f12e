"""Heads are measured: what a block costs, and what becomes of covered objects."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import head_blocks, occlusion
from benchmarks.occluders import occluded


def test_occluders_cover_objects_and_are_no_class() -> None:
    (scene,) = occlusion.scenes(1, 0)
    found = occluded(np.random.default_rng(0), scene.picture, scene.objects)
    assert (found.cover & (scene.objects > 0)).any()
    assert not found.label[found.cover].any()
    assert (found.label == scene.objects)[~found.cover].all()
    assert (abs(found.picture.astype(int) - scene.picture) <= 1)[~found.cover].all()
    assert (found.picture != scene.picture)[found.cover].any()


def test_a_picture_of_nothing_stays_as_it_is() -> None:
    picture, label = np.full((16, 16, 3), 9, np.uint8), np.zeros((16, 16), np.uint8)
    found = occluded(np.random.default_rng(0), picture, label)
    assert not found.cover.any()
    assert (found.picture == picture).all()


def test_pictures_are_laid_beside_each_other() -> None:
    drawn = occlusion.scenes(9, 0, 16)
    first, second = occlusion.tiled(drawn, 2)
    assert first.picture.shape == (32, 32, 3)
    assert (first.objects[:16, 16:] == drawn[1].objects).all()
    assert (second.picture[16:, :16] == drawn[6].picture).all()


def test_means_are_over_the_seeds() -> None:
    rows = [{"head": "focal", "seed": seed, "miou_clean": 0.5 + seed / 10} for seed in (0, 1)]
    assert occlusion.means(rows) == [{"head": "focal", "seeds": 2, "miou_clean": 0.55}]


@pytest.mark.slow
def test_heads_are_trained_and_scored(tmp_path: Path) -> None:
    occlusion.main(None, "all_mlp,focal", "0", 48, 2, 1, "pvt_v2_b0", tmp_path, tmp_path)
    written = json.loads((tmp_path / "occlusion.json").read_text())
    assert [row["head"] for row in written["records"]] == ["all_mlp", "focal"]
    for row in written["records"]:
        assert 0 <= row["miou_occluded"] <= 1
        assert row["miou_at_256_positions"] == row["miou_clean"]
        assert row["miou_at_4096_positions"] is None, "two pictures are too few"
        assert 0 <= row["occluders_taken_for_objects"] <= 1
    assert written["commit"]


@pytest.mark.slow
def test_blocks_are_measured(tmp_path: Path) -> None:
    head_blocks.main(tmp_path, quick=True)
    written = json.loads((tmp_path / "head_blocks.json").read_text())
    assert [(row["what"], row["kind"]) for row in written["cost"]] == [
        *(("block", kind) for kind in ("explicit", "softmax", "scaled")),
        *(("transfer", kind) for kind in ("softmax", "scaled")),
    ]
    assert all(row["ms"] > 0 and row["positions"] == 256 for row in written["cost"])
