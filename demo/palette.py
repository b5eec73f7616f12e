"""Colours, 0..1, that drawn objects share: what colour it has tells nobody what it is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demo.textures import Array, jittered

RED, ORANGE, OCHRE, BROWN = (
    (0.76, 0.14, 0.12),
    (0.92, 0.48, 0.12),
    (0.82, 0.64, 0.28),
    (0.5, 0.3, 0.17),
)
GREEN, TEAL, BLUE, VIOLET = (
    (0.28, 0.55, 0.2),
    (0.16, 0.55, 0.55),
    (0.2, 0.34, 0.72),
    (0.5, 0.3, 0.62),
)
CREAM, SILVER, DARK, WHITE = (
    (0.93, 0.88, 0.76),
    (0.66, 0.7, 0.74),
    (0.1, 0.09, 0.09),
    (0.96, 0.96, 0.94),
)


def pick(rng: np.random.Generator, colours: Sequence[Sequence[float]]) -> Sequence[float]:
    """Return one of `colours`."""
    return colours[int(rng.integers(len(colours)))]


def near(rng: np.random.Generator, colour: Sequence[float]) -> tuple[float, float, float]:
    """Return a colour near `colour`."""
    return jittered(rng, colour, 0.18)


def shade(colour: Sequence[float], factor: float) -> tuple[float, float, float]:
    """Return a colour (RGB) `factor` times as bright."""
    red, green, blue = (c * factor for c in colour)
    return red, green, blue


def two_tones(
    rng: np.random.Generator, colour: Sequence[float]
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return a dark and a light tone near `colour`."""
    middle = near(rng, colour)
    return shade(middle, 0.6), shade(middle, 1.15)


def paint(colours: Array, where: NDArray[np.bool_], colour: Sequence[float]) -> Array:
    """Return `colours` (h, w, 3) with one colour `where` (h, w) says."""
    painted = colours.copy()
    painted[where] = np.asarray(colour, np.float32)
    return painted
