"""Area, box, run lengths and polygons against the plain way, class by class."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from app.errors import TooLargeProblem
from app.segmentation import polygons as tracing
from app.segmentation.polygons import MOST_SHOWN, MOST_TRACED, Left
from app.segmentation.regions import Region, regions
from app.segmentation.simplifying import Ring, kept_points
from sats_core.data.transforms import Pixels
from tests.fixtures.examples import examples
from tests.sats_core.data.readers.test_coco_bounds import at_most

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' decode

MASKS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=24),
    elements=st.sampled_from([0, 1, 2, 7, 254]),
)


@settings(deadline=None)
@given(MASKS)
def test_regions_are_what_each_class_alone_says(mask: Pixels) -> None:
    found = list(regions(mask))
    assert [region.index for region in found] == np.unique(mask).tolist()
    for region in found:
        alone = mask == region.index
        ys, xs = np.nonzero(alone)
        assert region.pixels == alone.sum()
        width, height = np.ptp(xs) + 1, np.ptp(ys) + 1
        assert region.box == (xs.min(), ys.min(), width, height)
        packed = coco.encode(np.asfortranarray(alone, dtype=np.uint8))
        assert region.counts == packed["counts"].decode()
        assert coco.toBbox(packed).tolist() == list(region.box)
        rle = {"size": list(region.size), "counts": region.counts}
        np.testing.assert_array_equal(coco.decode(rle), alone)


def polygons(
    mask: Pixels, region: Region, tolerance: float, left: Left | None = None
) -> list[list[Ring]]:
    found = tracing.polygons(mask, region, tolerance, left or Left())
    return [[np.array(ring) for ring in rings] for rings in found]


def simplified(ring: Ring, tolerance: float) -> Ring:
    return ring[kept_points(ring, np.array([0, len(ring)]), tolerance)]


def inside(outlines: list[list[Ring]], height: int, width: int) -> np.ndarray:
    """Which pixel centres lie inside polygons with holes, by the even-odd rule."""
    ys, xs = np.mgrid[:height, :width] + 0.5
    crossed = np.zeros((height, width), dtype=int)
    for ring in (ring for rings in outlines for ring in rings):
        for (x0, y0), (x1, y1) in pairwise(ring):
            if y0 != y1:
                at = x0 + (ys - y0) * (x1 - x0) / (y1 - y0)
                crossed += ((y0 <= ys) != (y1 <= ys)) & (xs < at)
    return crossed % 2 == 1


@settings(deadline=None, max_examples=examples(40))
@given(MASKS)
def test_polygons_hold_the_pixels_of_their_class(mask: Pixels) -> None:
    for region in regions(mask):
        outlines = polygons(mask, region, 0)
        np.testing.assert_array_equal(inside(outlines, *mask.shape), mask == region.index)
        for ring in (ring for rings in outlines for ring in rings):
            assert len(ring) >= 4
            assert (ring[0] == ring[-1]).all()


def disc() -> Pixels:
    image = Image.new("L", (200, 200))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 30, 180, 190), 3)
    draw.ellipse((80, 90, 120, 130), 0)
    return np.array(image)


def test_a_hole_is_kept_and_outlines_are_simplified() -> None:
    mask = disc()
    (_, region) = regions(mask)
    ((outer, hole),) = polygons(mask, region, 1.0)
    assert len(outer) < 60
    assert (hole.min(axis=0) >= 79).all()
    found = inside([[outer, hole]], *mask.shape)
    assert (found & (mask == 3)).sum() / (found | (mask == 3)).sum() > 0.98


def test_a_thin_shape_does_not_collapse() -> None:
    mask = np.zeros((9, 9), dtype=np.uint8)
    mask[:, 4] = 1
    mask[0, 0] = 1
    outlines = polygons(mask, list(regions(mask))[1], 50)
    assert len(outlines) == 2
    assert inside(outlines, 9, 9).any()


def test_of_a_large_box_fewer_pixels_are_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST_POINTS", 2500)
    mask = disc()
    found = inside(polygons(mask, list(regions(mask))[1], 1.0), *mask.shape)
    assert (found & (mask == 3)).sum() / (found | (mask == 3)).sum() > 0.95


def test_no_point_that_was_left_out_is_far() -> None:
    turns = np.linspace(0, 2 * np.pi, 500)
    ring = np.stack([50 * np.cos(turns), 50 * np.sin(turns)], axis=1)
    ring[-1] = ring[0]
    few = simplified(ring, 0.5)
    assert 8 < len(few) < 60
    assert (np.linalg.norm((few[:-1] + few[1:]) / 2, axis=1) >= 49.4).all()


def noisy(size: int) -> Pixels:
    """A mask as a model that knows nothing makes it: smooth noise, cut at its middle."""
    grid = np.random.default_rng(0).normal(size=(size // 4, size // 4)).astype(np.float32)
    image = Image.fromarray(grid).resize((size, size), Image.Resampling.BILINEAR)
    return (np.asarray(image) > 0).astype(np.uint8)


def diagonal(size: int) -> Pixels:
    return np.tri(size, dtype=np.uint8)


@pytest.mark.parametrize(
    ("mask", "tolerance"),
    [(noisy(1000), 1.0), (diagonal(2000), 0.1), (diagonal(2000), 0.4)],
    ids=["noise", "corners", "steps"],
)
def test_many_rings_and_long_diagonals_take_little_time(mask: Pixels, tolerance: float) -> None:
    region = list(regions(mask))[1]
    began = time.process_time()
    tracing.polygons(mask, region, tolerance, Left())
    assert time.process_time() - began < 2  # alone 0.4; beside other work twice as much and more


def test_what_is_left_out_is_nowhere_far() -> None:
    mask = noisy(200)
    region = list(regions(mask))[1]
    exact = {tuple(p) for rings in polygons(mask, region, 0) for ring in rings for p in ring}
    for rings in polygons(mask, region, 2.0):
        for ring in rings:
            assert len(ring) >= 4
            assert {tuple(point) for point in ring} <= exact


@pytest.mark.parametrize("most", ["traced", "shown"])
def test_the_points_of_an_answer_are_bounded(most: str) -> None:
    mask = disc()
    region = list(regions(mask))[1]
    left = Left()
    polygons(mask, region, 1.0, left)
    taken = getattr(left, most).amount
    assert taken > 0
    few = Left(**{most: 2 * taken - 1})
    polygons(mask, region, 1.0, few)
    with pytest.raises(TooLargeProblem, match="points"):
        polygons(mask, region, 1.0, few)


def test_a_checkerboard_is_refused_before_it_is_traced() -> None:
    mask = (np.indices((2000, 2000)).sum(axis=0) % 2).astype(np.uint8)
    region = list(regions(mask))[1]
    with at_most(64), pytest.raises(TooLargeProblem, match=str(MOST_TRACED)):
        polygons(mask, region, 1.0)
    assert MOST_SHOWN < MOST_TRACED
