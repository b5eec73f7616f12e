"""Things of no class, painted over what drawn pictures show."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from demo.objects import CLUTTER
from demo.textures import grid, turned

Bytes = NDArray[np.uint8]

COUNT, SHARE = (1, 2), (0.35, 0.6)
"""Occluders of a picture, and the share of its side that one takes: fewest, most."""


class Occluded(NamedTuple):
    """A picture with occluders.

    Attributes:
        picture: (H, W, 3) RGB.
        label: (H, W); what is covered is background.
        cover: (H, W) bool, where the occluders are.
    """

    picture: Bytes
    label: Bytes
    cover: NDArray[np.bool_]


def occluded(rng: np.random.Generator, picture: Bytes, label: Bytes) -> Occluded:
    """Paint occluders over a square picture (S, S, 3), each upon something that has a label.

    They are the demo's clutter (stones, sticks, balls, boxes), which also lies about in the
    pictures, small and below everything else.
    """
    side = len(picture)
    painted, left = picture.astype(np.float32) / 255, label.copy()
    cover = np.zeros(label.shape, bool)
    shown = np.argwhere(label > 0)
    for _ in range(int(rng.integers(*COUNT, endpoint=True)) if len(shown) else 0):
        row, column = shown[rng.integers(len(shown))] / side * 2 - 1
        x, y = grid(side)
        u, v = turned(x - np.float32(column), y - np.float32(row), rng.uniform(0, np.pi))
        share = np.float32(rng.uniform(*SHARE))
        drawer = CLUTTER[int(rng.integers(len(CLUTTER)))]
        here, colours = drawer(rng, u / share, v / share)
        painted[here] = colours[here]
        cover |= here
    left[cover] = 0
    return Occluded((painted.clip(0, 1) * 255).astype(np.uint8), left, cover)
