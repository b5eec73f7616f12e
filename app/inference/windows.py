"""Pictures seen larger than by default: how large at most, and in windows that overlap."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pydantic import PositiveInt

from app.inference.sessions import Floats
from sats_core.data.transforms import MULTIPLE, View
from sats_core.errors import PictureError

MOST_ENLARGED = 8
"""Times a picture's own longer side: what a model is shown beyond it is a blur."""
OVERLAP = 4
"""Neighbours share a quarter of a window."""


class EnlargedTooFarError(PictureError):
    """A picture would be seen much larger than it is."""


class EnlargingView(View):
    """Shows pictures at a size that somebody asks for, and none much larger than it is.

    Attributes:
        own: side at which pictures are seen by default, to which any may be enlarged.
    """

    own: PositiveInt

    def shown(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) at which a picture of that size is seen.

        Raises:
            EnlargedTooFarError: it would be.
        """
        seen = super().shown(height, width)
        most = max(self.own, MOST_ENLARGED * max(height, width))
        if max(seen) > most:
            raise EnlargedTooFarError(
                f"`size` is {max(seen)}; this picture of {width} x {height} pixels is seen at "
                f"{most} at most"
            )
        return seen


def in_windows(pixels: Floats, side: int, run: Callable[[Floats], Floats]) -> Floats:
    """Return the logits (C, h, w) of a picture (3, H, W), by windows of at most `side` pixels.

    Where windows overlap their logits are mixed, each by how far the place is from its edge: what a
    model says at its window's edge it says without what lies beyond.

    Args:
        pixels: sides are multiples of 32.
        side: a multiple of 32.
        run: takes (N, 3, H, W), returns logits (N, C, h, w), whose grid divides 32 pixels.
    """
    height, width = pixels.shape[1:]
    tops, lefts = places(height, side), places(width, side)
    sums: Floats | None = None
    weights: Floats | None = None
    for top, left, window in _cut(pixels, tops, lefts, side):
        (logits,) = run(window[None])
        step = window.shape[1] // logits.shape[1]
        if sums is None or weights is None:
            grid = height // step, width // step
            sums = np.zeros((len(logits), *grid), dtype=np.float32)
            weights = np.zeros(grid, dtype=np.float32)
        rows, columns = logits.shape[1:]
        weight = np.minimum.outer(_tent(rows), _tent(columns))
        at = np.s_[top // step : top // step + rows, left // step : left // step + columns]
        sums[(slice(None), *at)] += logits * weight
        weights[at] += weight
    if sums is None or weights is None:
        raise ValueError("a picture has pixels")
    sums /= weights
    return sums


def places(length: int, side: int) -> list[int]:
    """Return where windows begin along one side of a picture, pixels; multiples of 32."""
    if length <= side:
        return [0]
    stride = max(MULTIPLE, (side - side // OVERLAP) // MULTIPLE * MULTIPLE)
    return [*range(0, length - side, stride), length - side]


def _cut(
    pixels: Floats, tops: Sequence[int], lefts: Sequence[int], side: int
) -> Iterator[tuple[int, int, Floats]]:
    for top in tops:
        for left in lefts:
            yield top, left, pixels[:, top : top + side, left : left + side]


def _tent(length: int) -> Floats:
    """Return weights that grow from both ends to the middle; none is zero."""
    places = np.arange(length, dtype=np.float32)
    return np.minimum(places, places[::-1]) + 1
