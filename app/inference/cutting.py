"""From a prediction to a mask at the picture's own size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.inference.works import LeftError
from sats_core.classes import BACKGROUND
from sats_core.data.prediction import Prediction, Tile, best_tiles, scored_tiles
from sats_core.data.transforms import Pixels

T = TypeVar("T")

VALUES = 256
"""How many values a mask's pixel can have."""


@dataclass(frozen=True)
class Cut:
    """How a mask is cut.

    Attributes:
        shown: indices of the classes that are shown, the others are background; None: all.
        min_score: pixels with a lower score are background.
        mean_scores: whether the mean score of each class is wanted.
        keep_scores: whether the score of every pixel is kept; they take two bytes each.
    """

    shown: frozenset[int] | None = None
    min_score: float = 0.0
    mean_scores: bool = True
    keep_scores: bool = False

    @property
    def scored(self) -> bool:
        """Whether pixels need scores, which are most of the work."""
        return self.mean_scores or self.keep_scores or self.min_score > 0

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """Which values of a mask are not shown."""
        if self.shown is None:
            return np.zeros(VALUES, dtype=bool)
        return np.array([index not in self.shown for index in range(VALUES)])


@dataclass(frozen=True, eq=False)
class Segmented:
    """What one picture shows.

    Attributes:
        mask: (H, W) uint8 at the picture's own size, values are class indices.
        scores: class index -> mean probability over the class's pixels. Background's is over the
            pixels that the model itself calls so, and is missing where there are none. Empty where
            nobody asked for scores.
        every_score: (H, W) float16, the probability of each pixel's best class, shown or not;
            (0, 0) where it was not kept.
    """

    mask: Pixels
    scores: dict[int, float]
    every_score: NDArray[np.float16]


def cut(
    prediction: Prediction,
    indices: Pixels,
    height: int,
    width: int,
    how: Cut,
    has_left: Callable[[], bool] = lambda: False,
) -> Segmented:
    """Cut a mask of (height, width) from a prediction.

    Args:
        prediction: of the picture.
        indices: (C,) the index of the class of each channel.
        height: the picture's, pixels.
        width: the picture's, pixels.
        how: what is shown.
        has_left: asked often: whether nobody waits for the mask any more.

    Raises:
        LeftError: it said yes.
    """
    size = height, width
    if how.scored:
        return _scored(_wanted(scored_tiles(prediction, *size), has_left), indices, size, how)
    return _unscored(_wanted(best_tiles(prediction, *size), has_left), indices, size, how)


def _wanted(tiles: Iterator[T], has_left: Callable[[], bool]) -> Iterator[T]:
    """Yield tiles as long as somebody waits for the mask.

    Raises:
        LeftError: nobody does.
    """
    for tile in tiles:
        if has_left():
            raise LeftError
        yield tile


def _unscored(
    tiles: Iterator[tuple[slice, slice, Pixels]], indices: Pixels, size: tuple[int, int], how: Cut
) -> Segmented:
    mask = np.empty(size, dtype=np.uint8)
    shown = np.where(how.hidden[indices], BACKGROUND, indices).astype(np.uint8)
    for rows, columns, channels in tiles:
        mask[rows, columns] = shown.take(channels)
    return Segmented(mask, {}, np.empty((0, 0), dtype=np.float16))


def _scored(tiles: Iterator[Tile], indices: Pixels, size: tuple[int, int], how: Cut) -> Segmented:
    mask = np.empty(size, dtype=np.uint8)
    every_score = np.empty(size if how.keep_scores else (0, 0), dtype=np.float16)
    hidden = how.hidden
    counts, sums = np.zeros(VALUES), np.zeros(VALUES)
    for tile in tiles:
        named = indices.take(tile.channels)
        unseen = hidden[named] | (tile.scores < how.min_score)
        # A class that is hidden says nothing of how sure the model is of background.
        own = ~unseen | (named == BACKGROUND)
        counts += np.bincount(named[own], minlength=VALUES)
        sums += np.bincount(named[own], weights=tile.scores[own], minlength=VALUES)
        named[unseen] = BACKGROUND
        mask[tile.rows, tile.columns] = named
        if how.keep_scores:
            every_score[tile.rows, tile.columns] = tile.scores
    scores = {int(i): min(1.0, float(sums[i] / counts[i])) for i in np.flatnonzero(counts)}
    return Segmented(mask, scores, every_score)
