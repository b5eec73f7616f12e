"""Pictures that other processes draw."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demo.drawing import drawing
from demo.pictures import draw_dataset, draw_showcase
from demo.plan import CLASSES, NEW_CLASSES, OLD_CLASSES
from tests.demo.test_run import TINY


def files(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_they_are_those_of_the_plan(tmp_path: Path) -> None:
    with drawing(TINY, tmp_path) as drawn:
        seeds, here = TINY.picture_seeds, tmp_path / "here.zip"
        draw_dataset(
            here,
            OLD_CLASSES,
            TINY.base_pictures,
            TINY.size,
            seeds[0],
            unlabelled=NEW_CLASSES,
            held_out=TINY.base_held_out,
        )
        assert drawn.base.result() == tmp_path / "base.zip"
        assert files(drawn.base.result()) == files(here)
        draw_dataset(
            here, NEW_CLASSES, TINY.step_pictures, TINY.size, seeds[1], unlabelled=OLD_CLASSES
        )
        assert files(drawn.step.result()) == files(here)
        count, size = TINY.showcase_pictures, TINY.showcase_size
        scenes = draw_showcase(CLASSES, count, size, seeds[2], always=NEW_CLASSES)
        for one, other in zip(drawn.scenes.result(), scenes, strict=True):
            assert np.array_equal(one.picture, other.picture)
            assert np.array_equal(one.objects, other.objects)


def test_what_goes_wrong_there_is_told_here(tmp_path: Path) -> None:
    with drawing(TINY, tmp_path / "away") as drawn, pytest.raises(FileNotFoundError, match="base"):
        drawn.base.result()


def test_whoever_leaves_waits_for_little_of_it(tmp_path: Path) -> None:
    endless = replace(TINY, base_pictures=100_000)
    with drawing(endless, tmp_path) as drawn:
        pass
    assert drawn.base.done()
    assert drawn.scenes.cancelled()
    assert drawn.step.cancelled()
