"""A label that shapes are painted on one after another, later ones over earlier ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sats_core.data.readers.coco_shapes import (
    MAX_PAINTED,
    Label,
    Mask,
    Runs,
    ShapeError,
    paint,
    shape_runs,
    spanned,
    too_much_painted,
)

MAX_SHAPES = 100_000
"""Most shapes of one picture."""


class Canvas:
    """A label (H, W) uint8, all background at first."""

    def __init__(self, height: int, width: int) -> None:
        self.height = height
        self.width = width
        self._columns = np.zeros(height * width, dtype=np.uint8)
        self._left = MAX_SHAPES
        self._unpainted = MAX_PAINTED

    def polygon(self, ring: Any, value: int, holes: Sequence[Any] = ()) -> None:
        """Paint the inside of a polygon `[x, y, x, y, ...]`, pixels, but for its holes.

        Raises:
            ShapeError: not at least three pairs of finite numbers, or too large to be drawn.
        """
        runs = self._runs(ring)
        if not holes:
            self._count(spanned(runs))
            paint(self._columns, runs, value)
            return
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        for hole in holes:
            cut = self._runs(hole)
            self._count(spanned(cut))
            paint(inside, cut, False)
        self.mask(inside.reshape((self.height, self.width), order="F"), 0, 0, value)

    def mask(self, inside: Mask, top: int, left: int, value: int) -> None:
        """Paint where a mask (h, w) is true; what lies right of and below the picture is cut off.

        Raises:
            ShapeError: it begins outside of the picture.
        """
        self._count(inside.size)
        if not (0 <= top < self.height and 0 <= left < self.width):
            raise ShapeError(f"a mask at {left}, {top} begins outside of the picture")
        label = self._columns.reshape((self.height, self.width), order="F")
        part = label[top : top + inside.shape[0], left : left + inside.shape[1]]
        part[inside[: part.shape[0], : part.shape[1]]] = value

    def label(self) -> Label:
        """Return the label as it is now, (H, W) uint8."""
        label = self._columns.reshape((self.height, self.width), order="F")
        return np.ascontiguousarray(label)

    def _runs(self, ring: Any) -> Runs:
        return shape_runs([ring], self.height, self.width)

    def _count(self, pixels: int) -> None:
        self._left -= 1
        self._unpainted -= pixels
        if self._left < 0:
            raise ShapeError(f"with it the picture has more than {MAX_SHAPES} shapes")
        if self._unpainted < 0:
            raise ShapeError(too_much_painted())


def counts_mask(counts: Sequence[int], height: int, width: int) -> Mask:
    """Return a mask (H, W) of run lengths, row by row, the first one outside of it.

    Raises:
        ShapeError: they do not add up to its pixels.
    """
    if any(not 0 <= count <= height * width for count in counts) or sum(counts) != height * width:
        raise ShapeError(f"its run lengths do not add up to {width} x {height} pixels")
    lengths = np.array(counts, dtype=np.int64)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)
