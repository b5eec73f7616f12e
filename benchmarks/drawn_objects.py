"""Six objects beside the demo's four: with them the ten classes of the protocol `drawn-6-1`.

As in `demo.objects`: each takes a random generator and coordinates u (to its right) and v (down),
-1..1 over its box, each (h, w); it returns the pixels it covers (h, w) bool and its colours
(h, w, 3), 0..1. Shape and texture tell the classes apart; their colours overlap.
"""

import numpy as np

from demo.objects import Drawing
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

ANY = (RED, ORANGE, OCHRE, BROWN, GREEN, TEAL, BLUE, VIOLET, SILVER)


def star(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a fat star of five points, each half in its own light."""
    angle = np.arctan2(u, -v)
    fifth = 2 * np.pi / 5
    away = np.abs((angle + fifth / 2) % fifth - fifth / 2)
    inner = rng.uniform(0.46, 0.56)
    # The straight line from a point (radius 1) to the notch beside it (radius `inner`).
    notch = inner * np.sin(fifth / 2)
    edge = notch / (notch * np.cos(away) + (1 - inner * np.cos(fifth / 2)) * np.sin(away))
    lit = ((angle + fifth / 2) % fifth > fifth / 2).astype(np.float32)
    return np.hypot(u, v) < 0.97 * edge, mix(*two_tones(rng, pick(rng, ANY)), lit)


def house(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a wall of bricks with windows and a door under a tiled gable."""
    eaves = rng.uniform(-0.25, -0.05)
    wall = (np.abs(u) < 0.74) & (v > eaves) & (v < 0.92)
    roof = (v <= eaves) & (v > -0.95) & (np.abs(u) < 0.95 * (v + 0.98) / (eaves + 0.98))
    tone = pick(rng, (CREAM, RED, OCHRE, SILVER, BLUE))
    rows = np.floor(v * 9)
    joints = ((v * 9) % 1 < 0.16) | ((u * 5 + 0.5 * (rows % 2)) % 1 < 0.1)
    colours = mix(*two_tones(rng, tone), np.where(joints, 0.15, 0.85))
    for x in (-0.4, 0.4):
        window = (np.abs(u - x) < 0.19) & (np.abs(v - eaves - 0.34) < 0.18)
        colours = paint(colours, window, near(rng, DARK))
        colours = paint(colours, window & (np.abs(u - x) < 0.03), near(rng, WHITE))
    colours = paint(colours, (np.abs(u) < 0.15) & (v > 0.42), near(rng, BROWN))
    tiles = 0.5 + 0.5 * np.sin((v + 0.2 * np.abs(np.sin(u * 16))) * 34)
    top = mix(*two_tones(rng, pick(rng, (RED, BROWN, TEAL, VIOLET))), tiles)
    return wall | roof, np.where(roof[..., None], top, colours)


def doughnut(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a ring of dough with icing and sprinkles."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    ring = (radius < 0.92) & (radius > rng.uniform(0.26, 0.34))
    wave = 0.045 * np.sin(angle * rng.integers(6, 10) + rng.uniform(0, 6))
    icing = (radius < 0.8 + wave) & (radius > 0.4 - wave)
    round_light = (1.15 - 2.2 * (radius - 0.6) ** 2 - 0.2 * (u + v)).clip(0.5, 1.2)
    colours = mix(*two_tones(rng, OCHRE), round_light)
    top = np.asarray(near(rng, pick(rng, (RED, BROWN, VIOLET, CREAM, TEAL))), np.float32)
    colours = np.where(icing[..., None], top * round_light[..., None], colours)
    for turn, far, tilt in rng.uniform((0, 0.46, 0), (2 * np.pi, 0.74, np.pi), (22, 3)):
        x, y = u - far * np.cos(turn), v - far * np.sin(turn)
        along, across = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
        here = (np.abs(along) < 0.085) & (np.abs(across) < 0.035)
        colours = paint(colours, here & icing, pick(rng, (WHITE, BLUE, GREEN, ORANGE)))
    return ring, colours


def flower(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw round petals about a dotted heart."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    petals = int(rng.integers(6, 9))
    phase = angle * petals / 2 + rng.uniform(0, 6)
    edge = 0.62 + 0.33 * np.abs(np.sin(phase)) ** 0.7
    veins = 0.55 + 0.45 * np.cos(phase * 2 + np.pi) * (0.4 + 0.6 * radius)
    colours = mix(*two_tones(rng, pick(rng, (RED, VIOLET, BLUE, ORANGE, WHITE))), veins)
    heart = radius < rng.uniform(0.27, 0.36)
    dots = np.sin(u * 34) * np.sin(v * 34) > 0
    core = mix(*two_tones(rng, pick(rng, (OCHRE, BROWN, GREEN))), dots.astype(np.float32))
    return radius < edge, np.where(heart[..., None], core, colours)


def bottle(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw a standing bottle: a stopper, a neck, shoulders, a label with lines of writing."""
    width, neck = rng.uniform(0.42, 0.52), rng.uniform(0.14, 0.19)
    shoulder = rng.uniform(-0.3, -0.1)
    slope = ((v - shoulder + 0.26) / 0.26).clip(0, 1)
    half = neck + (width - neck) * slope * slope * (3 - 2 * slope)
    body = (np.abs(u) < half) & (v > -0.86) & (v < 0.95)
    stopper = (np.abs(u) < neck * 1.15) & (v > -0.98) & (v <= -0.74)
    shine = np.exp(-(((u / half + 0.45) / 0.16) ** 2))
    glass = pick(rng, (GREEN, BROWN, TEAL, BLUE, DARK, SILVER))
    colours = mix(shade(near(rng, glass), 0.75), near(rng, WHITE), 0.85 * shine)
    low, high = shoulder + 0.22, rng.uniform(0.6, 0.75)
    label = body & (v > low) & (v < high)
    colours = paint(colours, label, near(rng, CREAM))
    writing = (np.sin((v - low) * 40) > 0.3) & (np.abs(u) < 0.62 * width)
    colours = paint(colours, label & writing, near(rng, pick(rng, (RED, DARK, BLUE))))
    return body | stopper, paint(colours, stopper, near(rng, pick(rng, (OCHRE, RED, SILVER))))


def butterfly(rng: np.random.Generator, u: Array, v: Array) -> Drawing:
    """Draw four spread wings with dark rims and a spot each, and a thin body."""
    x = np.abs(u)
    upper = ((x - 0.5) / 0.46) ** 2 + ((v + 0.34 + 0.25 * (x - 0.5)) / 0.48) ** 2
    lower = ((x - 0.4) / 0.36) ** 2 + ((v - 0.46) / 0.4) ** 2
    wings = np.minimum(upper, lower)
    body = (x < 0.09) & (np.abs(v) < 0.72)
    dark, light = two_tones(rng, pick(rng, (ORANGE, BLUE, VIOLET, RED, OCHRE, CREAM)))
    colours = mix(dark, light, 0.5 + 0.5 * np.sin(wings * 5 + 1))
    colours = paint(colours, wings > rng.uniform(0.66, 0.78), near(rng, DARK))
    spot = near(rng, pick(rng, (WHITE, ORANGE, TEAL)))
    colours = paint(colours, np.hypot(x - 0.55, v + 0.38) < 0.14, spot)
    colours = paint(colours, np.hypot(x - 0.42, v - 0.46) < 0.1, spot)
    return (wings < 1) | body, paint(colours, body, near(rng, DARK))
