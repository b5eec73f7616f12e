"""Masks as brushes and polygons of Label Studio."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.inference.cutting import Segmented
from app.integrations.label_studio import brush
from app.integrations.label_studio.brush import TooManyRunsError, encode_mask
from app.integrations.label_studio.labelling import Control
from app.integrations.label_studio.regions import confidence, predicted
from sats_core.classes import Catalogue
from sats_core.data.readers.brush import decode_alpha
from sats_core.data.readers.canvas import Canvas
from tests.sats_core.data.readers import test_brush
from tests.sats_core.data.readers.brushes import encode

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=16))
NO_SCORES = np.empty((0, 0), dtype=np.float16)
CATALOGUE = Catalogue.empty().grow(["ring", "dot"], [1, 2])
POLYGONS = Control("polygonlabels", "poly", "image", "image", ("ring", "dot"))
BRUSHES = Control("brushlabels", "brush", "image", "image", ("ring",))


@given(mask=MASKS)
def test_a_brush_is_what_the_sdk_writes_and_comes_back(mask: np.ndarray) -> None:
    written = encode_mask(mask)
    assert list(written) == encode(mask.astype(np.uint8) * 255)
    alpha = decode_alpha(written, mask.size).reshape(mask.shape)
    np.testing.assert_array_equal(alpha, mask * 255)


@pytest.mark.parametrize("number", [0, 2, 3])
def test_it_is_what_the_sdk_wrote(number: int) -> None:
    height, width, rle, alpha = test_brush.WRITTEN[number]
    mask = np.array(alpha).reshape(height, width) > 0
    assert list(encode_mask(mask)) == rle


@pytest.mark.parametrize("filled", [False, True])
def test_runs_longer_than_a_record_and_more_records_than_are_packed_at_once(
    filled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brush, "_RECORDS", 7)
    mask = np.full((512, 512), filled)
    mask[10:20, ::3] = not filled
    assert list(encode_mask(mask)) == encode(mask.astype(np.uint8) * 255)


def test_a_mask_too_ragged_for_any_reader_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brush, "MAX_RECORDS", 100)
    mask = np.indices((21, 11)).sum(axis=0) % 2 == 0
    with pytest.raises(TooManyRunsError, match="more than 100"):
        encode_mask(mask)


def ring(size: int = 60) -> np.ndarray:
    """Return a mask of a thick ring (1), two holes in it, and a dot in one of them (2)."""
    y, x = np.mgrid[:size, :size] + 0.5
    mask = (np.hypot(y - 30, x - 30) < 27).astype(np.uint8)
    mask[np.hypot(y - 22, x - 22) < 7] = 0
    mask[np.hypot(y - 38, x - 40) < 9] = 0
    mask[np.hypot(y - 38, x - 40) < 4] = 2
    return mask


def test_polygons_keep_holes() -> None:
    mask = ring()
    found = Segmented(mask, {0: 0.5, 1: 0.9, 2: 0.7}, NO_SCORES)
    regions = predicted(found, CATALOGUE, [POLYGONS])
    canvas = {name: Canvas(60, 60) for name in ("ring", "dot")}
    for one in regions:
        (label,) = one["value"]["polygonlabels"]
        points = one["value"]["points"]
        assert all(0 <= number <= 100 for point in points for number in point)
        canvas[label].polygon([number * 0.6 for point in points for number in point], 1)
    for index, name in ((1, "ring"), (2, "dot")):
        drawn = canvas[name].label() == 1
        there = mask == index
        assert (drawn & there).sum() / (drawn | there).sum() > 0.95, name
    assert [one["score"] for one in regions] == [0.9, 0.7]


def test_brushes_before_polygons_and_only_what_has_a_label() -> None:
    found = Segmented(ring(), {}, NO_SCORES)
    regions = predicted(found, CATALOGUE, [POLYGONS, BRUSHES])
    assert [one["type"] for one in regions] == ["brushlabels", "polygonlabels"]
    (one,) = predicted(found, CATALOGUE, [BRUSHES])
    assert (one["from_name"], one["value"]["brushlabels"]) == ("brush", ["ring"])
    assert predicted(found, CATALOGUE, []) == []


@given(st.integers(1, 30), st.integers(1, 30))
def test_a_mask_of_any_size_can_be_polygons(height: int, width: int) -> None:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 2 :, width // 3 :] = 1
    for one in predicted(Segmented(mask, {}, NO_SCORES), CATALOGUE, [POLYGONS]):
        assert len(one["value"]["points"]) >= 3


def test_confidence_is_the_mean_over_the_picture() -> None:
    mask = np.array([[0, 0, 0, 1]], dtype=np.uint8)
    assert confidence(Segmented(mask, {0: 0.6, 1: 1.0}, NO_SCORES)) == pytest.approx(0.7)
    assert confidence(Segmented(mask, {}, NO_SCORES)) == 0.0
