from pathlib import Path

import numpy as np
import pytest

from benchmarks.drawn_pictures import LOOK, draw
from demo.pictures import draw_scene
from demo.textures import grid
from sats_core.data.protocols import DRAWN
from sats_core.data.readers import open_reader
from sats_core.data.sources import DirectorySource
from sats_core.settings import Limits

SIX = ("star", "house", "bottle", "doughnut", "flower", "butterfly")


@pytest.mark.parametrize("name", SIX)
def test_an_object_stays_inside_its_box(name: str) -> None:
    u, v = (axis * np.float32(1.5) for axis in grid(96))
    for seed in range(10):
        cover, colours = LOOK.drawers[name](np.random.default_rng(seed), u, v)
        assert colours.shape == (96, 96, 3)
        assert np.isfinite(colours[cover]).all()
        assert 0.1 < cover.mean() < 0.45
        assert not (cover & (np.hypot(u, v) > 1.45)).any()


@pytest.mark.parametrize("name", DRAWN)
def test_every_class_can_be_drawn(name: str) -> None:
    scene = draw_scene(np.random.default_rng(2), 64, DRAWN, (name,), LOOK)
    assert (scene.objects == DRAWN.index(name) + 1).mean() > 0.01


def test_the_classes_have_shapes_of_their_own() -> None:
    """Silhouettes at one scale overlap by less than an object overlaps its own kind."""
    u, v = grid(48)
    shapes = {
        name: np.mean([LOOK.drawers[name](np.random.default_rng(i), u, v)[0] for i in range(8)], 0)
        for name in DRAWN
    }
    for name, mine in shapes.items():
        own = LOOK.drawers[name](np.random.default_rng(99), u, v)[0]
        distance = {other: np.abs(shape - own).mean() for other, shape in shapes.items()}
        assert min(distance, key=lambda other: distance[other]) == name, mine.mean()


def test_a_folder_of_them_is_a_data_set(tmp_path: Path) -> None:
    draw(tmp_path / "a", 12, 4, 32, seed=1)
    draw(tmp_path / "b", 12, 4, 32, seed=1)
    first, second = (sorted((tmp_path / n).rglob("*.jpg")) for n in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    with DirectorySource(tmp_path / "a", Limits()) as source:
        reader = open_reader(source)
        assert tuple(reader.classes) == DRAWN
        assert {name: len(ids) for name, ids in reader.splits.items()} == {"train": 12, "val": 4}
    with pytest.raises(FileExistsError):
        draw(tmp_path / "a", 12, 4, 32, seed=1)
