from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from app.errors import NotAcceptableProblem
from app.segmentation.rendering import (
    LONGEST_WEBP,
    Decode,
    confidence_png,
    mask_png,
    overlay_png,
    overlay_webp,
)
from sats_core.classes import Catalogue
from sats_core.data import pictures
from sats_core.data.transforms import Pixels
from tests.app.inference.colour_graph import CLASSES

CATALOGUE = Catalogue(CLASSES)
MASKS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
    elements=st.sampled_from([c.index for c in CLASSES]),
)


def on(picture: Pixels) -> Decode:
    return lambda below: Image.fromarray(
        np.pad(picture, ((0, below), (0, 0), (0, 0)), constant_values=255)
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


@settings(deadline=None)
@given(MASKS)
def test_an_overlay_leaves_the_background_as_it_was(mask: Pixels) -> None:
    picture = np.full((*mask.shape, 3), 100, dtype=np.uint8)
    image = Image.open(BytesIO(overlay_png(on(picture), mask, CATALOGUE)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", mask.shape[::-1])
    shown = np.array(image)
    assert (shown[mask == 0] == 100).all()
    assert (shown[mask != 0] != 100).any(axis=-1).all()


def test_an_overlay_blends_inside_and_draws_the_outline_full() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[5:15, 5:15] = 1
    picture = np.full((20, 20, 3), 100, dtype=np.uint8)
    shown = np.array(Image.open(BytesIO(overlay_png(on(picture), mask, CATALOGUE))))
    assert shown[10, 5].tolist() == [255, 0, 0]
    assert shown[14, 10].tolist() == [255, 0, 0]
    np.testing.assert_allclose(shown[10, 10], [177, 50, 50], atol=1)


def test_a_legend_is_a_strip_below_that_names_what_is_shown() -> None:
    mask = np.zeros((40, 200), dtype=np.uint8)
    mask[:20] = 1
    mask[20:30] = 7
    picture = np.full((40, 200, 3), 100, dtype=np.uint8)
    plain = np.array(Image.open(BytesIO(overlay_png(on(picture), mask, CATALOGUE))))
    shown = np.array(Image.open(BytesIO(overlay_png(on(picture), mask, CATALOGUE, legend=True))))
    np.testing.assert_array_equal(shown[:40], plain)
    strip = {tuple(colour) for colour in shown[40:].reshape(-1, 3).tolist()}
    assert {(255, 0, 0), (0, 0, 255), (255, 255, 255)} <= strip
    assert (0, 255, 0) not in strip
    nothing = overlay_png(on(picture), np.zeros_like(mask), CATALOGUE, legend=True)
    assert Image.open(BytesIO(nothing)).size == (200, 40)


@pytest.mark.parametrize("shape", [(1, 1), (300, 1), (1, 300)])
def test_a_legend_is_never_wider_than_the_picture(shape: tuple[int, int]) -> None:
    mask = np.resize(np.array([1, 2, 7], dtype=np.uint8), shape)
    picture = np.zeros((*shape, 3), dtype=np.uint8)
    image = Image.open(BytesIO(overlay_webp(on(picture), mask, CATALOGUE, legend=True)))
    assert (image.format, image.width) == ("WEBP", shape[1])


def test_a_webp_has_its_limits() -> None:
    mask = np.zeros((1, LONGEST_WEBP + 1), dtype=np.uint8)

    def decode(below: int) -> Image.Image:
        raise AssertionError("it is refused before it is decoded")

    with pytest.raises(NotAcceptableProblem, match="image/png; profile=overlay"):
        overlay_webp(decode, mask, CATALOGUE, legend=False)


def test_confidence_is_grey() -> None:
    scores = np.array([[0, 0.5, 1]], dtype=np.float16)
    image = Image.open(BytesIO(confidence_png(scores)))
    assert (image.format, image.mode) == ("PNG", "L")
    assert np.array(image).tolist() == [[0, 128, 255]]


def test_an_overlay_in_bands_is_the_whole_one(monkeypatch):
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 3, (9, 7)), np.ones((110, 130))).astype(np.uint8)
    picture = rng.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    whole = overlay_png(on(picture), mask, CATALOGUE)
    monkeypatch.setattr(pictures, "BAND_PIXELS", 20_000)
    assert overlay_png(on(picture), mask, CATALOGUE) == whole
