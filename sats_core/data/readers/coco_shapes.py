"""COCO's shapes as run lengths; what a stranger wrote is checked before anything is allocated.

pycocotools draws the outlines of polygons. It does not read run lengths here: it takes those that
fall short of the picture, and leaves whatever memory held where they end.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sats_core.limits import MAX_INT32

MAX_POINTS = 250_000
"""Most numbers of one shape that is written in numbers."""
MAX_TEXT = 2 * 2**20
"""Most characters of one shape that is written as COCO's compressed text."""
MAX_OUTLINE = 1_000_000
"""Longest outline of a shape, pixels: drawing it takes some 100 bytes for each."""
MAX_RUNS = 16_000_000
"""Most runs that the shapes of one picture may have together, four bytes each."""
MAX_PAINTED = 2**32
"""Most pixels that the shapes of one picture may span together, which bounds the time to paint."""

Mask = NDArray[np.bool_]
Label = NDArray[np.uint8]
Runs = NDArray[np.int32]
"""Lengths of a shape's runs, column by column, the first one outside of it."""


class ShapeError(ValueError):
    """A segmentation that is none."""


def shape_runs(segmentation: Any, height: int, width: int) -> Runs:
    """Return the runs of a shape; they add up to the picture's pixels.

    Args:
        segmentation: polygons `[[x, y, x, y, ...], ...]`, or run lengths
            `{"size": [H, W], "counts": [...]}`, counts as numbers or COCO's compressed text.
        height: of the picture.
        width: of the picture.

    Raises:
        ShapeError: it is neither, does not fit the picture, or is too large to be drawn.
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation, height, width)
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            raise ShapeError(f"its size is not that of the picture, {height} x {width}")
        counts = segmentation.get("counts")
        listed = _unpacked(counts) if isinstance(counts, str) else _listed(counts)
        return _checked(listed, height, width)
    raise ShapeError("neither polygons nor run lengths")


def painted(shapes: Iterable[tuple[Runs, int]], height: int, width: int) -> Label:
    """Return a label (H, W) with shapes in their values, the smaller ones on top.

    Shapes are held as runs and painted one after another: no two are unpacked at a time.

    Raises:
        ShapeError: the shapes have more than `MAX_RUNS` runs together, or span more than
            `MAX_PAINTED` pixels.
    """
    valued: list[tuple[int, Runs, int]] = []
    left, unpainted = MAX_RUNS, MAX_PAINTED
    for runs, value in shapes:
        left -= len(runs)
        unpainted -= spanned(runs)
        if left < 0:
            raise ShapeError(f"with it the picture's shapes have more than {MAX_RUNS} runs")
        if unpainted < 0:
            raise ShapeError(too_much_painted())
        valued.append((int(runs[1::2].sum(dtype=np.int64)), runs, value))
    columns = np.zeros(height * width, dtype=np.uint8)
    for _, runs, value in sorted(valued, key=lambda shape: -shape[0]):
        paint(columns, runs, value)
    return np.ascontiguousarray(columns.reshape((height, width), order="F"))


def spanned(runs: Runs) -> int:
    """Return how many pixels are looked at to paint a shape: those from its first to its last."""
    return int(_to_its_end(runs)[1:].sum(dtype=np.int64))


def _to_its_end(runs: Runs) -> Runs:
    """Return runs without the one that lies outside behind the shape."""
    return runs[: len(runs) // 2 * 2]


def too_much_painted() -> str:
    """Return what is said of the shape that is one too many."""
    return f"with it the picture's shapes span more than {MAX_PAINTED} pixels together"


def paint(columns: NDArray[Any], runs: Runs, value: int) -> None:
    """Paint the runs of one shape, from where it begins to where it ends.

    Args:
        columns: a label or mask (H * W,), column by column.
        runs: of the shape.
        value: to paint.
    """
    if len(runs) < 2:
        return
    shape = _to_its_end(runs)
    inside = np.repeat(np.arange(1, len(shape)) % 2 == 1, shape[1:])
    columns[shape[0] : shape[0] + len(inside)][inside] = value


def _polygons(polygons: Sequence[Any], height: int, width: int) -> Runs:
    rings = []
    numbers = 0
    outline = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ShapeError("a polygon is a list of at least three pairs of numbers")
        numbers += len(polygon)
        if numbers > MAX_POINTS:
            raise ShapeError(f"more than {MAX_POINTS} numbers")
        if not all(isinstance(v, int | float) and abs(v) < 1e9 for v in polygon):
            raise ShapeError("a polygon holds finite numbers")
        # pycocotools allocates by the length of an outline, wherever it runs.
        ring = np.array(polygon, dtype=np.float64).reshape(-1, 2).clip((0, 0), (width, height))
        outline += float(np.abs(ring - np.roll(ring, 1, axis=0)).max(axis=1).sum())
        if outline > MAX_OUTLINE:
            raise ShapeError(f"an outline longer than {MAX_OUTLINE} pixels")
        rings.append(ring.ravel().tolist())
    if not rings:
        return np.array([height * width], dtype=np.int32)
    merged = coco.merge(coco.frPyObjects(rings, height, width))
    return _checked(_unpacked(merged["counts"].decode("ascii")), height, width)


def _checked(counts: NDArray[np.int64], height: int, width: int) -> Runs:
    if (counts < 0).any() or (counts > height * width).any() or counts.sum() != height * width:
        raise ShapeError("its run lengths do not add up to the picture's pixels")
    return counts.astype(np.int32)


def _listed(counts: Any) -> NDArray[np.int64]:
    if not isinstance(counts, list) or len(counts) > MAX_POINTS:
        raise ShapeError(f"its run lengths are neither text nor a list of up to {MAX_POINTS}")
    if not all(type(count) is int and 0 <= count <= MAX_INT32 for count in counts):
        raise ShapeError("its run lengths do not add up to the picture's pixels")
    return np.array(counts, dtype=np.int64)


def _unpacked(text: str) -> NDArray[np.int64]:
    """Return the run lengths of COCO's compressed text.

    Five bits a character, the lowest first, the sixth says that more follow; from the third on a
    number is the difference to the one two before it.
    """
    if len(text) > MAX_TEXT:
        raise ShapeError(f"more than {MAX_TEXT} characters")
    if not text.isascii():
        raise ShapeError("its compressed run lengths are damaged")
    bits = np.frombuffer(text.encode("ascii"), np.uint8) - np.uint8(48)  # below 48 wraps around
    (ends,) = np.nonzero(bits & 32 == 0)
    if (bits > 63).any() or (len(bits) and (not len(ends) or ends[-1] != len(bits) - 1)):
        raise ShapeError("its compressed run lengths are damaged")
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    lengths = ends - starts + 1
    if (lengths > 7).any():
        raise ShapeError("its compressed run lengths are damaged")
    places = np.arange(len(bits)) - np.repeat(starts, lengths)
    values = np.zeros(len(ends), dtype=np.int64)
    if len(ends):
        values = np.add.reduceat((bits & 31).astype(np.int64) << (5 * places), starts)
        values -= np.where(bits[ends] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values
