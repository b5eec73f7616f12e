"""COCO's shapes to masks; what a stranger wrote is checked before anything is allocated."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

MAX_POINTS = 1_000_000
"""Most numbers in the polygons of one shape."""

Mask = NDArray[np.bool_]


class ShapeError(ValueError):
    """A segmentation that is none."""


def shape_mask(segmentation: Any, height: int, width: int) -> Mask:
    """Return a shape as a mask (H, W).

    Args:
        segmentation: polygons `[[x, y, x, y, ...], ...]`, or run lengths
            `{"size": [H, W], "counts": [...]}`, counts as numbers or COCO's compressed text.
        height: of the picture.
        width: of the picture.

    Raises:
        ShapeError: it is neither, or does not fit the picture.
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation, height, width)
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            raise ShapeError(f"its size is not that of the picture, {height} x {width}")
        counts = segmentation.get("counts")
        return _runs(_unpacked(counts) if isinstance(counts, str) else counts, height, width)
    raise ShapeError("neither polygons nor run lengths")


def _polygons(polygons: Sequence[Any], height: int, width: int) -> Mask:
    rings = []
    total = 0
    for polygon in polygons:
        total += len(polygon) if isinstance(polygon, list) else 0
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ShapeError("a polygon is a list of at least three pairs of numbers")
        if total > MAX_POINTS:
            raise ShapeError(f"more than {MAX_POINTS} numbers")
        if not all(isinstance(v, int | float) and abs(v) < 1e9 for v in polygon):
            raise ShapeError("a polygon holds finite numbers")
        ring = np.array(polygon, dtype=np.float64).reshape(-1, 2)
        # pycocotools allocates by the length of an outline, wherever it runs.
        rings.append(ring.clip((0, 0), (width, height)).ravel().tolist())
    if not rings:
        return np.zeros((height, width), dtype=bool)
    merged = coco.merge(coco.frPyObjects(rings, height, width))
    return _runs(_unpacked(merged["counts"].decode("ascii")), height, width)


def _runs(counts: Any, height: int, width: int) -> Mask:
    whole = isinstance(counts, list) and all(
        isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts
    )
    if not whole or sum(counts) != height * width:
        raise ShapeError("its run lengths do not add up to the picture's pixels")
    values = np.arange(len(counts)) % 2 == 1
    flat: Mask = np.repeat(values, np.array(counts, dtype=np.int64))
    return flat.reshape((height, width), order="F")


def _unpacked(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed text.

    Five bits a character, the lowest first, the sixth says that more follow; from the third on a
    number is the difference to the one two before it.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ShapeError("its compressed run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts
