"""What the demo's pictures show: objects drawn as functions of their own coordinates.

Every object takes a random generator and coordinates u (to its right) and v (down), -1..1 over its
box, each (h, w); it returns the pixels it covers (h, w) bool and its colours (h, w, 3), 0..1.
Colour alone tells no class: the palettes overlap.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from demo.palette import (
    BLUE,
    BROWN,
    CREAM,
    DARK,
    GREEN,
    OCHRE,
    ORANGE,
    RED,
    SILVER,
    TEAL,
    VIOLET,
    WHITE,
    near,
    paint,
    pick,
    shade,
    two_tones,
)
from demo.textures import Array, mix

Cover = NDArray[np.bool_]
Drawing = tuple[Cover, Array]
Drawer = Callable[[np.random.Generator, Array, Array], Drawing]


def mushroom(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a cap with light spots on a pale stem."""
    low = rng.uniform(0.0, 0.12)
    cap = ((u / 0.95) ** 2 + ((v - low) / 0.85) ** 2 < 1) & (v < low + 0.1 * (1 - u**2))
    width = rng.uniform(0.22, 0.34)
    stem = (
        (np.abs(u) < width * (1 + 0.35 * (v - 0.2))) & (v > low - 0.05) & (v < 0.95 - 0.25 * u**2)
    )
    colours = mix(*two_tones(rng, CREAM), 0.5 + 0.5 * np.cos(u * 2.2 / width + 0.5))
    colours = paint(colours, stem & (v < low + 0.22), shade(near(rng, CREAM), 0.6))
    top = mix(
        *two_tones(rng, pick(rng, (RED, BROWN, OCHRE, VIOLET, ORANGE))), 0.5 - 0.5 * v - 0.3 * u
    )
    colours = np.where(cap[..., None], top, colours)
    gills = cap & (v > low + 0.02 * np.cos(u * 40))
    colours = paint(colours, gills, shade(near(rng, CREAM), 0.75))
    spots = np.zeros_like(cap)
    for x, y in rng.uniform((-0.75, -0.7), (0.75, -0.08), (9, 2)):
        spots |= (u - x) ** 2 + ((v - y) / 0.8) ** 2 < rng.uniform(0.06, 0.15) ** 2
    return cap | stem, paint(colours, cap & spots & ~gills, near(rng, WHITE))


def fish(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a scaled body with a tail, fins and an eye."""
    height = rng.uniform(0.38, 0.5)
    body = ((u - 0.15) / 0.82) ** 2 + (v / height) ** 2 < 1
    tail = (u < -0.4) & (u > -0.98 + 0.25 * (1 - np.abs(v) / 0.6)) & (np.abs(v) < -0.75 * (u + 0.4))
    fins = (np.abs(v) < height + 0.2 - 0.6 * np.abs(u)) & (np.abs(u + 0.05) < 0.4)
    back, belly = (
        near(rng, pick(rng, (ORANGE, BLUE, SILVER, TEAL, RED, OCHRE))),
        near(rng, CREAM),
    )
    colours = mix(back, belly, (0.35 + 0.9 * v / height).clip(0, 1))
    rows = np.floor(v * 11)
    scales = np.hypot((u * 9 + 0.5 * (rows % 2)) % 1 - 0.5, (v * 11) % 1 - 0.2)
    colours = colours * (1.12 - 0.55 * scales)[..., None]
    if rng.random() < 0.4:
        bands = np.sin(u * rng.uniform(12, 18)) > 0.45
        colours = paint(colours, body & bands & (u < 0.5), shade(back, 0.45))
    rays = 0.75 + 0.25 * np.sin((v * 2 + u) * 26)
    colours = np.where(
        ((tail | fins) & ~body)[..., None], np.asarray(shade(back, 0.8)) * rays[..., None], colours
    )
    head = body & (np.hypot(u - 1.0, v * 0.8) < 0.5)
    colours = np.where(
        head[..., None], colours * 0.45 + np.asarray(shade(back, 0.9)) * 0.5, colours
    )
    eye = np.hypot(u - 0.68, v + 0.12)
    colours = paint(colours, eye < 0.12, WHITE)
    return body | tail | fins, paint(colours, eye < 0.065, DARK)


def leaf(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a pointed blade with veins and a stalk."""
    bend = rng.uniform(-0.18, 0.18)
    v = v - bend * (1 - u**2)
    along = ((u + 0.68) / 1.66).clip(0, 1)
    teeth = 1 + rng.uniform(0.03, 0.09) * np.sign(np.sin(along * 46)) * np.abs(np.sin(along * 46))
    half = rng.uniform(0.5, 0.62) * np.sin(np.pi * along**0.75).clip(0, 1) ** 0.9 * teeth
    blade = (np.abs(v) < half) & (u > -0.68) & (u < 0.98)
    stalk = (np.abs(v) < 0.045) & (u > -0.99) & (u < -0.5)
    base = pick(rng, (GREEN, GREEN, OCHRE, RED, BROWN, TEAL))
    dark, light = two_tones(rng, base)
    colours = mix(dark, light, 0.5 + 0.35 * np.sin(v * 3 + u * 2))
    side = np.sin((u - np.abs(v) * 0.9) * rng.uniform(22, 30)) > 0.86
    colours = paint(colours, side | (np.abs(v) < 0.03), [min(1.0, c * 1.3 + 0.12) for c in light])
    colours = colours * np.where(v > 0, 0.82, 1.0).astype(np.float32)[..., None]
    return blade | stalk, paint(colours, stalk & ~blade, shade(base, 0.7))


def cup(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a mug from the side: an open rim, a decorated wall, a handle."""
    centre, taper = -0.22, rng.uniform(0.0, 0.14)
    x = (u - centre) / (0.7 - taper * (v + 0.7) / 1.5)
    wall = (np.abs(x) < 1) & (v > -0.7) & (v < 0.68 + 0.2 * np.sqrt((1 - x**2).clip(0, 1)))
    rim = x**2 + ((v + 0.7) / 0.2) ** 2
    ring = np.hypot((u - 0.48) / 0.46, (v - 0.02) / 0.52)
    handle = (ring < 1) & (ring > 0.58) & (u > 0.3)
    tones = (near(rng, WHITE), near(rng, VIOLET))
    base, second = tones if rng.random() < 0.5 else tones[::-1]
    colours = np.broadcast_to(np.asarray(base, np.float32), (*u.shape, 3)).copy()
    kind = rng.integers(3)
    if kind == 0:
        pattern = np.abs(v - rng.uniform(-0.1, 0.4)) < rng.uniform(0.1, 0.25)
    elif kind == 1:
        pattern = np.sin(x * 1.2 * rng.uniform(7, 12)) > 0.4
    else:
        pattern = np.hypot((x * 2.2) % 1 - 0.5, (v * 2.2) % 1 - 0.5) < 0.26
    colours = paint(colours, wall & pattern & (v > -0.42), second)
    round_light = (1.05 - 0.5 * (x + 0.35) ** 2).clip(0.4, 1.1)
    colours = colours * np.where(wall, round_light, 0.85)[..., None]
    colours = paint(colours, (rim < 1), shade(base, 1.1))
    drink = pick(rng, ((0.22, 0.12, 0.06), (0.5, 0.26, 0.08), shade(base, 0.35)))
    return wall | (rim < 1) | handle, paint(colours, rim < 0.72, drink)


def stone(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a round stone (clutter)."""
    angle = np.arctan2(v, u)
    edge = 0.75 + sum(
        rng.uniform(-0.09, 0.09) * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5)
    )
    tone = pick(rng, (SILVER, BROWN, OCHRE, CREAM))
    return np.hypot(u, v * rng.uniform(1, 1.5)) < edge, mix(
        *two_tones(rng, tone), 0.5 - 0.5 * (u + v) / 1.4
    )


def stick(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a twig or pencil (clutter)."""
    v = v - rng.uniform(-0.2, 0.2) * u**2
    tone = pick(rng, (BROWN, OCHRE, RED, BLUE, GREEN))
    return (np.abs(v) < rng.uniform(0.05, 0.12)) & (np.abs(u) < 0.98), mix(
        *two_tones(rng, tone), 0.5 - 4 * v + 0.2 * np.sin(u * 30)
    )


def ball(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a banded ball (clutter)."""
    radius = np.hypot(u, v)
    first, second = (near(rng, pick(rng, (RED, BLUE, WHITE, GREEN, ORANGE))) for _ in range(2))
    colours = mix(first, second, (np.sin(u * 6 + 2 * v**2) > 0).astype(np.float32))
    return radius < 0.85, colours * (1.1 - 0.5 * np.hypot(u + 0.3, v + 0.3))[..., None]


def box(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a book or box from above (clutter)."""
    tall = rng.uniform(0.45, 0.8)
    tone = pick(rng, (RED, BLUE, TEAL, BROWN, CREAM))
    colours = mix(*two_tones(rng, tone), 0.5 + 0.3 * u)
    colours = paint(colours, (np.abs(v) < 0.12) & (np.abs(u) < 0.5), near(rng, CREAM))
    return (np.abs(u) < 0.85) & (np.abs(v) < tall), paint(colours, u < -0.7, shade(tone, 0.6))


OBJECTS: dict[str, Drawer] = {"mushroom": mushroom, "fish": fish, "leaf": leaf, "cup": cup}
CLUTTER: tuple[Drawer, ...] = (stone, stick, ball, box)
