"""Pictures that look the same: a difference hash, and the thumbnail that it is made of."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sats_core.data.pictures import Pixels

SIDE = 16
"""A hash has 16 x 16 bits: whether a place is brighter than the one to its left."""
MOST_BITS = 24
"""Bits in which the hashes of two copies may differ: saved again, made smaller."""
MOST_DIFFERENCE = 4.0
"""Mean difference of the thumbnails of two copies, grey levels."""
LEAST_CONTRAST = 3.0
"""Deviation of a thumbnail, grey levels, under which a picture is too flat to be compared."""
_AT_ONCE = 256
_NEAREST = 32
"""Pictures with the likest hashes whose thumbnails are compared."""

Flags = NDArray[np.bool_]


def thumbnail(picture: Pixels) -> Pixels:
    """Return what stands for a picture (H, W, 3) uint8 here: (16, 17) uint8, grey."""
    grey = Image.fromarray(picture).convert("L")
    return np.asarray(grey.resize((SIDE + 1, SIDE), Image.Resampling.BOX))


def _go_on() -> None:
    return None


def duplicated(thumbnails: Sequence[Pixels], go_on: Callable[[], None] = _go_on) -> Flags:
    """Return of each picture whether one before it looks the same, (n,) bool.

    Args:
        thumbnails: of the pictures.
        go_on: called after every few hundred pictures; what it raises ends the comparison.
    """
    return _alike(thumbnails, thumbnails, True, go_on)


def duplicated_in(
    thumbnails: Sequence[Pixels], others: Sequence[Pixels], go_on: Callable[[], None] = _go_on
) -> Flags:
    """Return of each picture whether one of the others looks the same, (n,) bool.

    Args:
        thumbnails: of the pictures.
        others: thumbnails of the others.
        go_on: called after every few hundred pictures; what it raises ends the comparison.
    """
    return _alike(thumbnails, others, False, go_on)


def _alike(
    left: Sequence[Pixels], right: Sequence[Pixels], before: bool, go_on: Callable[[], None]
) -> Flags:
    found = np.zeros(len(left), dtype=bool)
    if not left or not right:
        return found
    ours, theirs = np.stack(left).astype(np.int16), np.stack(right).astype(np.int16)
    our_signs, their_signs = _signs(ours), _signs(theirs)
    most = min(_NEAREST, len(theirs))
    contrast = ours.std(axis=(1, 2)) >= LEAST_CONTRAST
    for first in range(0, len(ours), _AT_ONCE):
        go_on()
        agreeing = our_signs[first : first + _AT_ONCE] @ their_signs.T
        if before:
            agreeing = np.tril(agreeing, first - 1)
        near = agreeing >= SIDE * SIDE - 2 * MOST_BITS
        compared = np.flatnonzero(near.any(axis=1) & contrast[first : first + _AT_ONCE])
        nearest = np.argpartition(-agreeing[compared], most - 1, axis=1)[:, :most]
        differences = np.abs(theirs[nearest] - ours[first + compared][:, None]).mean(axis=(2, 3))
        same = near[compared[:, None], nearest] & (differences <= MOST_DIFFERENCE)
        found[first + compared] = same.any(axis=1)
    return found


def _signs(thumbnails: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return the hashes of thumbnails as +1 and -1, (n, 256): a product counts what agrees."""
    brighter = thumbnails[:, :, 1:] > thumbnails[:, :, :-1]
    return np.where(brighter, 1, -1).reshape(len(thumbnails), -1).astype(np.float32)
