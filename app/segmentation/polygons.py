"""Outlines of a class as polygons with holes."""

import math
from itertools import pairwise
from typing import Any

import contourpy
import numpy as np
from numpy.typing import NDArray

from app.errors import TooLargeProblem
from app.inference.budget import Budget, FullError, Share
from app.segmentation.regions import Region
from app.segmentation.simplifying import Places, Ring, kept_points
from sats_core.data.transforms import Pixels

MOST_POINTS = 2**22
"""Pixels of a box that are looked at; of a larger one every second, third, ... row and column."""
MOST_TRACED = 2**20
"""Points of an answer's outlines before they are simplified."""
MOST_SHOWN = 200_000
"""Points of an answer's polygons: more are megabytes of JSON, and seconds."""
DECIMALS = 2
"""Of a polygon's coordinates."""

Polygon = list[list[list[float]]]
"""Rings of [x, y], the outer one first, then its holes."""


class Left:
    """How many points an answer may still have; its pictures are described side by side."""

    def __init__(self, traced: int = MOST_TRACED, shown: int = MOST_SHOWN) -> None:
        self._most = traced, shown
        self.traced, self.shown = Share(Budget(traced)), Share(Budget(shown))

    def trace(self, points: int) -> None:
        """Take points of an outline, before it is simplified.

        Raises:
            TooLargeProblem: the answer has too many.
        """
        _take(self.traced, self._most[0], points, "traced")

    def show(self, points: int) -> None:
        """Take points of polygons.

        Raises:
            TooLargeProblem: the answer has too many.
        """
        _take(self.shown, self._most[1], points, "simplified")


def polygons(mask: Pixels, region: Region, tolerance: float, left: Left) -> list[Polygon]:
    """Return the polygons of one class of a mask.

    Args:
        mask: (H, W).
        region: the class's pixels in it.
        tolerance: how far a simplified outline may lie from the exact one, pixels.
        left: how many points they may have; what they have is taken off.

    Raises:
        TooLargeProblem: they have more.
    """
    x, y, width, height = region.box
    step = math.ceil(math.sqrt(width * height / MOST_POINTS))
    inside = mask[y : y + height : step, x : x + width : step] == region.index
    # The tracer goes between points: a rim of zeros closes what touches the box's edge.
    framed = np.pad(inside, 1)
    # An outline has a point wherever it crosses from a pixel to the next.
    down = int(np.count_nonzero(framed[1:] != framed[:-1]))
    left.trace(down + int(np.count_nonzero(framed[:, 1:] != framed[:, :-1])))
    points, bounds, outer = _traced(framed)
    points = points * step + (np.array([x, y]) - 0.5 * step)
    kept = kept_points(points, bounds, tolerance)
    left.show(int(np.count_nonzero(kept)))
    ends = np.concatenate(([0], np.cumsum(kept)))[bounds].tolist()
    shown = points[kept].round(DECIMALS).tolist()
    rings = [shown[first:after] for first, after in pairwise(ends)]
    return [rings[first:after] for first, after in pairwise(outer)]


def _traced(framed: NDArray[np.bool_]) -> tuple[Ring, Places, list[int]]:
    """Return all rings' points, where each ring begins, and with which ring each polygon does."""
    tracer = contourpy.contour_generator(
        z=framed.astype(np.float64),
        fill_type=contourpy.FillType.ChunkCombinedOffsetOffset,
        name="serial",
    )
    # What an outline looks like depends on the fill type; the stubs know all. There is one chunk.
    found: Any = tracer.filled(0.5, 2)
    (points,), (bounds,), (outer,) = found
    if points is None:  # all that was left of the class is between the rows that are looked at
        return np.zeros((0, 2)), np.zeros(1, dtype=np.int64), [0]
    return points, bounds.astype(np.int64), outer.tolist()


def _take(left: Share, most: int, points: int, how: str) -> None:
    try:
        left.grow(points)
    except FullError as error:
        raise TooLargeProblem(
            f"the polygons have more than {most} points ({how}), the most of one answer: ask "
            "for fewer classes or pictures, for a larger `tolerance`, or read `rle`"
        ) from error
