"""How well the outlines of labels follow the edges of their pictures.

Labels of another picture, or at random, lie on edges no more often than chance has it. What chance
would have is measured too: the same outlines, each laid on another picture. So nothing hangs on how
many edges the pictures have, or on where in a picture objects mostly are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sats_core.data.pictures import Pixels
from sats_core.data.transforms import fit, resize_label

LONGEST = 128
"""Longer side at which pictures are looked at, pixels."""
LEAST_OUTLINES = 4
"""Pictures with an outline that it takes to tell."""
_MOVES = 3
"""How often all outlines are laid on another picture."""

Ranks = NDArray[np.float32]
Region = NDArray[np.bool_]


def edge_ranks(picture: Pixels) -> Ranks:
    """Return of each pixel how strong an edge it is among those of its picture: ranks, 0..1.

    Args:
        picture: (H, W, 3) uint8; looked at with the longer side at 128 pixels at most.
    """
    height, width = _looked_at(picture.shape[0], picture.shape[1])
    grey = Image.fromarray(picture).convert("L")
    seen = np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR), np.int16)
    edges = np.zeros(seen.shape, np.int16)
    edges[1:] = np.abs(np.diff(seen, axis=0))
    edges[:, 1:] = np.maximum(edges[:, 1:], np.abs(np.diff(seen, axis=1)))
    counts = np.bincount(edges.ravel())
    middle = np.cumsum(counts) - (counts - 1) / 2
    return (middle / edges.size).astype(np.float32)[edges]


def region(label: Pixels, value: int) -> Region:
    """Return where a label (H, W) uint8 has a value, at the size of its picture's `edge_ranks`."""
    return np.asarray(resize_label(label, *_looked_at(*label.shape)) == value)


def outline_fit(ranks: Sequence[Ranks], regions: Sequence[Region]) -> float | None:
    """Return how much better outlines lie on edges of their own pictures than on those of others.

    Args:
        ranks: `edge_ranks` of each picture.
        regions: where each picture shows the class.

    Returns:
        The difference of the mean ranks under the outlines, -1..1; about 0 where the labels have
        nothing to do with their pictures. None: fewer than four pictures have an outline.
    """
    outlined = [place for place, inside in enumerate(regions) if _outline(inside).any()]
    count = len(outlined)
    if count < LEAST_OUTLINES:
        return None
    own = [_mean_rank(ranks[place], regions[place]) for place in outlined]
    moved = [
        _mean_rank(ranks[place], _stretched(regions[other], ranks[place].shape))
        for move in range(1, min(_MOVES, count - 1) + 1)
        for place, other in zip(outlined, np.roll(outlined, -move).tolist(), strict=True)
    ]
    chance = [rank for rank in moved if rank is not None]
    known = [rank for rank in own if rank is not None]
    return float(np.mean(known) - np.mean(chance)) if known and chance else None


def _looked_at(height: int, width: int) -> tuple[int, int]:
    return fit(height, width, min(LONGEST, max(height, width)))


def _outline(inside: Region) -> Region:
    found = np.zeros(inside.shape, dtype=bool)
    found[1:] |= inside[1:] != inside[:-1]
    found[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    return found


def _mean_rank(ranks: Ranks, inside: Region) -> float | None:
    outline = _outline(inside)
    return float(ranks[outline].mean()) if outline.any() else None


def _stretched(inside: Region, shape: tuple[int, ...]) -> Region:
    return resize_label(inside.astype(np.uint8), shape[0], shape[1]).astype(bool)
