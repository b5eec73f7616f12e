"""What a model says of a picture, brought from its own coarse grid to the picture's size."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sats_core.data.transforms import Pixels

Floats = NDArray[np.float32]

TILE = 128
"""Side of the squares of pixels that are worked on, so that all classes of one fit a cache."""
LEAST_SHARE = 1e-3
"""Classes that together take less than this of a pixel's probability may be left out of it."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's logits for one picture.

    Attributes:
        logits: (C, h, w) float32 on the model's grid, over its whole input.
        rows: how many of the grid's rows show the picture; below them is padding. May be a
            fraction.
        columns: how many of its columns do.
    """

    logits: Floats
    rows: float
    columns: float


@dataclass(frozen=True, eq=False)
class Tile:
    """A piece of a picture.

    Attributes:
        rows: where it lies, pixels.
        columns: where it lies, pixels.
        channels: (R, K) uint8, the channel with the highest logit; of equal ones the first.
        scores: (R, K) float32, its softmax probability.
    """

    rows: slice
    columns: slice
    channels: Pixels
    scores: Floats


def scored_tiles(prediction: Prediction, height: int, width: int) -> Iterator[Tile]:
    """Yield a picture's tiles, (height, width) in all, from bilinearly enlarged logits.

    No more than a tile of them is ever in memory. A score may be up to `LEAST_SHARE` too high.
    """
    margin = math.log(len(prediction.logits) / LEAST_SHARE)
    for rows, columns, kept, logits in _enlarged(prediction, height, width, margin):
        places, best = _first_best(logits)
        channels = kept.take(places)
        logits -= best
        np.exp(logits, out=logits)
        yield Tile(rows, columns, channels, 1 / logits.sum(axis=0))


def best_tiles(
    prediction: Prediction, height: int, width: int
) -> Iterator[tuple[slice, slice, Pixels]]:
    """Yield rows, columns and channels of a picture's tiles, as `scored_tiles` has them.

    Without scores, where one class is surely best there is next to nothing to do.
    """
    for rows, columns, kept, logits in _enlarged(prediction, height, width, margin=0):
        places, _ = _first_best(logits)
        yield rows, columns, kept.take(places)


def best_channels(prediction: Prediction, height: int, width: int) -> Pixels:
    """Return the channel of every pixel, (height, width) uint8, as `scored_tiles` has them."""
    channels = np.empty((height, width), dtype=np.uint8)
    for rows, columns, found in best_tiles(prediction, height, width):
        channels[rows, columns] = found
    return channels


def _enlarged(
    prediction: Prediction, height: int, width: int, margin: float
) -> Iterator[tuple[slice, slice, Pixels, Floats]]:
    """Yield rows, columns, channels (c,) and their logits (c, R, K) of one tile after another.

    Channels that are nowhere in a tile closer than `margin` to the best one are left out of it.
    """
    _, grid_height, grid_width = prediction.logits.shape
    down = _Places.over(height, prediction.rows, grid_height)
    across = _Places.over(width, prediction.columns, grid_width)
    for top in range(0, height, TILE):
        rows = slice(top, min(top + TILE, height))
        ys = down.of(rows)
        for left in range(0, width, TILE):
            columns = slice(left, min(left + TILE, width))
            xs = across.of(columns)
            around = prediction.logits[:, ys.span, xs.span]
            kept = _rivals(around, margin)
            wide = xs.between(around[kept], axis=2)
            yield rows, columns, kept, ys.between(wide, axis=1)


def _rivals(around: Floats, margin: float) -> Pixels:
    """Return the channels that may come within `margin` of the best one between these logits.

    What is interpolated lies between the least and the greatest of what it is made of.
    """
    flat = around.reshape(len(around), -1)
    surely = flat.min(axis=1).max()
    return np.flatnonzero(flat.max(axis=1) >= surely - margin).astype(np.uint8)


def _first_best(logits: Floats) -> tuple[Pixels, Floats]:
    """Return where along the first axis the greatest is, of equal ones the first, and what it is.

    numpy's argmax over that axis takes many times as long, and so does copying under a mask.
    """
    best = logits[0].copy()
    places = np.zeros(best.shape, dtype=np.uint8)
    for place in range(1, len(logits)):
        better = (logits[place] > best).view(np.uint8)
        better *= np.uint8(place)
        np.maximum(places, better, out=places)  # later places are greater
        np.maximum(best, logits[place], out=best)
    return places, best


@dataclass(frozen=True, eq=False)
class _Places:
    """Where pixels lie on one axis of the grid: between two of its points.

    Attributes:
        before: (n,) the point before each pixel.
        after: (n,) the point after it; the same at the grid's end.
        share: (n,) float32, how far from the one to the other.
    """

    before: NDArray[np.intp]
    after: NDArray[np.intp]
    share: Floats

    @classmethod
    def over(cls, pixels: int, shown: float, points: int) -> "_Places":
        """Place all pixels of a side: their centres, on a grid of which `shown` points show it."""
        centres = (np.arange(pixels) + 0.5) * (shown / pixels) - 0.5
        centres = np.clip(centres, 0, points - 1)
        before = centres.astype(np.intp)
        share = (centres - before).astype(np.float32)
        return cls(before, np.minimum(before + 1, points - 1), share)

    @property
    def span(self) -> slice:
        """The points that these pixels lie between."""
        return slice(int(self.before[0]), int(self.after[-1]) + 1)

    def of(self, pixels: slice) -> "_Places":
        """Return the places of some pixels."""
        return _Places(self.before[pixels], self.after[pixels], self.share[pixels])

    def between(self, values: Floats, axis: int) -> Floats:
        """Return what lies at these places of values at the points of `span`."""
        share = self.share
        if axis < values.ndim - 1:  # written out: numpy multiplies by whole rows many times faster
            share = np.repeat(share[:, None], values.shape[-1], axis=1)
        first: Floats = values.take(self.before - self.span.start, axis=axis)
        second: Floats = values.take(self.after - self.span.start, axis=axis)
        # So written, what is the same on both sides stays the same to the last bit.
        second -= first
        second *= share
        first += second
        return first
