"""Outlines of a class as polygons with holes."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import contourpy
import numpy as np
from numpy.typing import NDArray

from app.segmentation.regions import Region
from sats_core.data.transforms import Pixels

Ring = NDArray[np.float64]
"""(n, 2) x and y in pixels from the picture's upper left corner; the last point is the first."""
Offsets = NDArray[np.uint32]

MOST_POINTS = 2**22
"""Pixels of a box that are looked at; of a larger one every second, third, ... row and column."""

LEAST_TOLERANCE = 0.1
"""Below it an outline of pixels keeps every corner."""


def polygons(mask: Pixels, region: Region, tolerance: float) -> list[list[Ring]]:
    """Return the polygons of one class of a mask: of each the outer ring, then its holes.

    Args:
        mask: (H, W).
        region: the class's pixels in it.
        tolerance: how far a simplified outline may lie from the exact one, pixels.
    """
    left, top, width, height = region.box
    step = math.ceil(math.sqrt(width * height / MOST_POINTS))
    inside = mask[top : top + height : step, left : left + width : step] == region.index
    # The tracer goes between points: a rim of zeros closes what touches the box's edge.
    framed = np.zeros((inside.shape[0] + 2, inside.shape[1] + 2))
    framed[1:-1, 1:-1] = inside
    tracer = contourpy.contour_generator(
        z=framed, fill_type=contourpy.FillType.OuterOffset, name="serial"
    )
    # What an outer ring and its holes look like depends on the fill type; the stubs know all.
    shapes, bounds = cast(tuple[list[Ring], list[Offsets]], tracer.filled(0.5, 2))
    origin = np.array([left, top]) - 0.5 * step
    return [
        [simplified(ring * step + origin, tolerance) for ring in _rings(points, offsets)]
        for points, offsets in zip(shapes, bounds, strict=True)
    ]


def simplified(ring: Ring, tolerance: float) -> Ring:
    """Return a closed ring with fewer points, after Douglas and Peucker.

    One that would collapse into a line is simplified less.
    """
    far = int(np.linalg.norm(ring - ring[0], axis=1).argmax())
    kept = np.zeros(len(ring), dtype=bool)
    kept[[0, far, -1]] = True
    stretches = [(0, far), (far, len(ring) - 1)]
    while stretches:
        first, last = stretches.pop()
        if last - first < 2:
            continue
        distances = _distances(ring[first + 1 : last], ring[first], ring[last])
        worst = int(distances.argmax())
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            stretches += [(first, middle), (middle, last)]
    if kept.sum() < 4 and tolerance > 0:
        return simplified(ring, tolerance / 4 if tolerance > LEAST_TOLERANCE else 0.0)
    return ring[kept]


def _rings(points: Ring, offsets: Offsets) -> Iterator[Ring]:
    for first, after in pairwise(offsets):
        yield points[first:after]


def _distances(points: Ring, start: Ring, end: Ring) -> NDArray[np.float64]:
    """Return how far points lie from the line between two others, or from their one point."""
    along, offset = end - start, points - start
    length = float(np.hypot(*along))
    if length == 0:
        return np.asarray(np.hypot(offset[:, 0], offset[:, 1]))
    across: NDArray[np.float64] = np.abs(along[0] * offset[:, 1] - along[1] * offset[:, 0])
    return across / length
