"""What painting the shapes of one picture may cost."""

import numpy as np
import pytest

from sats_core.data.readers import canvas, coco_shapes
from sats_core.data.readers.canvas import Canvas
from sats_core.data.readers.coco_shapes import ShapeError, painted, shape_runs

WHOLE = [0, 0, 10, 0, 10, 10, 0, 10]


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let shapes span three times a picture of 10 x 10 pixels."""
    monkeypatch.setattr(canvas, "MAX_PAINTED", 300)
    monkeypatch.setattr(coco_shapes, "MAX_PAINTED", 300)


def test_shapes_drawn_over_each_other_are_bounded_by_what_they_span() -> None:
    drawn = Canvas(10, 10)
    for value in (1, 2, 3):
        drawn.polygon(WHOLE, value)
    assert (drawn.label() == 3).all()
    with pytest.raises(ShapeError, match="span more than 300 pixels"):
        drawn.polygon(WHOLE, 4)


def test_masks_and_holes_count_too() -> None:
    drawn = Canvas(10, 10)
    drawn.mask(np.ones((10, 10), dtype=bool), 0, 0, 1)
    with pytest.raises(ShapeError, match="span"):
        drawn.polygon(WHOLE, 2, [WHOLE, WHOLE, WHOLE])


def test_small_shapes_are_many() -> None:
    drawn = Canvas(10, 10)
    for _ in range(25):
        drawn.polygon([0, 0, 1, 0, 1, 9, 0, 9], 1)


def test_those_of_coco_are_bounded_alike() -> None:
    whole = shape_runs([WHOLE], 10, 10)
    assert (painted([(whole, 1)] * 3, 10, 10) == 1).all()
    with pytest.raises(ShapeError, match="span"):
        painted([(whole, 1)] * 4, 10, 10)
