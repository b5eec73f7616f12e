"""Grounds that the demo's objects lie on: procedural, no two alike.

Every ground is a function of a random generator and a side in pixels, and returns an RGB array
(side, side, 3) of floats, roughly 0..1.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating[Any]]
Ground = Callable[[np.random.Generator, int], Array]


def value_noise(rng: np.random.Generator, side: int, cells: int) -> Array:
    """Return smooth noise (side, side) in 0..1 with about `cells` bumps along a side."""
    coarse = rng.random((cells + 1, cells + 1), dtype=np.float32)
    picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32).clip(0, 1)


def fractal_noise(rng: np.random.Generator, side: int, cells: Sequence[int] = (3, 8, 24)) -> Array:
    """Return noise (side, side) in 0..1 at several scales, the coarse ones stronger."""
    weights = [0.5**octave for octave in range(len(cells))]
    layers = [w * value_noise(rng, side, c) for w, c in zip(weights, cells, strict=True)]
    total: Array = np.stack(layers).sum(axis=0) / np.float32(sum(weights))
    return total


@lru_cache(maxsize=4)
def grid(side: int) -> tuple[Array, Array]:
    """Return x and y of every pixel's centre, -1..1, each (side, side)."""
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(axis, axis)
    x.flags.writeable = y.flags.writeable = False  # shared by every caller
    return x, y


def turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Return the coordinates in a frame turned by `angle` radians."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def mix(dark: Sequence[float], light: Sequence[float], share: Array) -> Array:
    """Blend two RGB colours by `share` (h, w); returns (h, w, 3)."""
    first, second = np.asarray(dark, np.float32), np.asarray(light, np.float32)
    blend: Array = (second - first) * share[..., None]
    blend += first
    return blend


def jittered(
    rng: np.random.Generator, colour: Sequence[float], amount: float
) -> tuple[float, float, float]:
    """Return a colour near `colour`: brightness and tint both moved by up to `amount`."""
    bright = 1 + rng.uniform(-amount, amount)
    red, green, blue = (c * bright + rng.uniform(-amount, amount) / 2 for c in colour)
    return red, green, blue


def grass(rng: np.random.Generator, side: int) -> Array:
    """Draw blades: noise stretched along a slanted direction, in greens."""
    blades = _stretched(rng, side, 60, 6)
    share = 0.65 * blades + 0.35 * fractal_noise(rng, side)
    return mix(
        jittered(rng, (0.10, 0.22, 0.06), 0.2), jittered(rng, (0.50, 0.66, 0.28), 0.2), share
    )


def wood(rng: np.random.Generator, side: int) -> Array:
    """Draw planks with grain."""
    _, y = turned(*grid(side), rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.05))
    warp = fractal_noise(rng, side, (2, 5, 16))
    grain = 0.5 + 0.5 * np.sin((y * rng.uniform(14, 26) + warp * 9) * 2)
    planks = np.abs((y * rng.uniform(1.5, 3)) % 1 - 0.5) < 0.48
    share = (0.6 * grain + 0.4 * warp) * np.where(planks, 1, 0.2)
    return mix(
        jittered(rng, (0.30, 0.18, 0.09), 0.2), jittered(rng, (0.72, 0.52, 0.32), 0.2), share
    )


def gravel(rng: np.random.Generator, side: int) -> Array:
    """Draw pebbles: cells around random points, each with its own grey, dark between them."""
    x, y = grid(side)
    count = int(rng.integers(40, 110))
    points = rng.uniform(-1.1, 1.1, (count, 2)).astype(np.float32)
    distance = np.stack([(x - px) ** 2 + (y - py) ** 2 for px, py in points])
    owner = distance.argmin(axis=0)
    nearest = distance.min(axis=0)
    np.put_along_axis(distance, owner[None], np.inf, axis=0)
    edge = ((np.sqrt(distance.min(axis=0)) - np.sqrt(nearest)) * 14).clip(0, 1)
    shade = rng.uniform(0.35, 1, count).astype(np.float32)[owner]
    share = shade * edge * (0.7 + 0.3 * fractal_noise(rng, side, (8, 24, 60)))
    return mix((0.14, 0.13, 0.12), jittered(rng, (0.80, 0.76, 0.70), 0.15), share)


def cloth(rng: np.random.Generator, side: int) -> Array:
    """Draw a woven cloth with stripes or checks in two colours."""
    x, y = turned(*grid(side), rng.uniform(0, np.pi))
    period = rng.uniform(3, 9)
    share = (np.sin(x * period * np.pi) > rng.uniform(-0.5, 0.5)).astype(np.float32)
    if rng.random() < 0.5:
        share = (share + (np.sin(y * period * np.pi) > 0)) / 2
    weave = 0.85 + 0.15 * np.sin(x * 110) * np.sin(y * 110)
    first, second = rng.uniform(0.15, 0.9, 3).tolist(), rng.uniform(0.25, 0.95, 3).tolist()
    fade = 0.75 + 0.25 * fractal_noise(rng, side)
    return mix(first, second, 0.15 + 0.7 * share) * (weave * fade)[..., None]


def soil(rng: np.random.Generator, side: int) -> Array:
    """Draw earth or sand: noise at many scales."""
    tone = rng.choice([0.0, 1.0])
    dark = jittered(rng, (0.20 + 0.35 * tone, 0.14 + 0.30 * tone, 0.09 + 0.20 * tone), 0.15)
    light = jittered(rng, (0.55 + 0.3 * tone, 0.43 + 0.33 * tone, 0.30 + 0.3 * tone), 0.15)
    return mix(dark, light, fractal_noise(rng, side, (3, 9, 27, 70)))


def water(rng: np.random.Generator, side: int) -> Array:
    """Draw ripples in blues and greens."""
    ripples = 0.5 + 0.5 * np.sin(_stretched(rng, side, 4, 14) * rng.uniform(14, 26))
    share = 0.55 * ripples + 0.45 * fractal_noise(rng, side)
    return mix(
        jittered(rng, (0.08, 0.22, 0.32), 0.2), jittered(rng, (0.48, 0.70, 0.76), 0.2), share
    )


def _stretched(rng: np.random.Generator, side: int, across: int, along: int) -> Array:
    coarse = rng.random((along + 1, across + 1), dtype=np.float32)
    wide = Image.fromarray(coarse).resize((side * 2, side * 2), Image.Resampling.BICUBIC)
    angle = float(rng.uniform(-25, 25))
    turned_picture = wide.rotate(angle, Image.Resampling.BILINEAR)
    half = side // 2
    cut = turned_picture.crop((half, half, half + side, half + side))
    return np.asarray(cut, np.float32).clip(0, 1)


GROUNDS: tuple[Ground, ...] = (grass, wood, gravel, cloth, soil, water)
