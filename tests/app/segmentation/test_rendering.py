from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco

from app.segmentation.rendering import Pixels, mask_png, overlay_png, run_lengths
from sats_core.classes import Catalogue
from sats_core.data import pictures
from tests.app.inference.colour_graph import CLASSES

CATALOGUE = Catalogue(CLASSES)
MASKS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
    elements=st.sampled_from([c.index for c in CLASSES]),
)


@settings(deadline=None)
@given(MASKS)
def test_a_mask_is_a_palette_png_of_indices(mask: Pixels) -> None:
    image = Image.open(BytesIO(mask_png(mask, CATALOGUE)))
    assert (image.format, image.mode) == ("PNG", "P")
    np.testing.assert_array_equal(np.array(image), mask)
    colours = np.array(image.convert("RGB"))
    for info in CLASSES:
        assert (colours[mask == info.index] == info.colour).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools', in decode
@settings(deadline=None)
@given(MASKS)
def test_run_lengths_are_cocos(mask: Pixels) -> None:
    for info in CLASSES:
        rle = {"size": list(mask.shape), "counts": run_lengths(mask, info.index)}
        np.testing.assert_array_equal(coco.decode(rle), mask == info.index)
        assert coco.area(rle) == (mask == info.index).sum()


@settings(deadline=None)
@given(MASKS)
def test_an_overlay_leaves_the_background_as_it_was(mask: Pixels) -> None:
    picture = np.full((*mask.shape, 3), 100, dtype=np.uint8)
    image = Image.open(BytesIO(overlay_png(Image.fromarray(picture), mask, CATALOGUE)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", mask.shape[::-1])
    shown = np.array(image)
    assert (shown[mask == 0] == 100).all()
    assert (shown[mask != 0] != 100).any(axis=-1).all()


def test_an_overlay_blends_inside_and_draws_the_outline_full() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[5:15, 5:15] = 1
    picture = np.full((20, 20, 3), 100, dtype=np.uint8)
    shown = np.array(Image.open(BytesIO(overlay_png(Image.fromarray(picture), mask, CATALOGUE))))
    assert shown[10, 5].tolist() == [255, 0, 0]
    assert shown[14, 10].tolist() == [255, 0, 0]
    np.testing.assert_allclose(shown[10, 10], [177, 50, 50], atol=1)


def test_an_overlay_in_bands_is_the_whole_one(monkeypatch):
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 3, (9, 7)), np.ones((110, 130))).astype(np.uint8)
    picture = rng.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    whole = overlay_png(Image.fromarray(picture), mask, CATALOGUE)
    monkeypatch.setattr(pictures, "BAND_PIXELS", 20_000)
    assert overlay_png(Image.fromarray(picture), mask, CATALOGUE) == whole
