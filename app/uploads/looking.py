"""A look at some of a data set's pictures before anything is queued."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.errors import ErrorDetail, problem_of
from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.bands import value_counts
from sats_core.data.duplicates import duplicated, thumbnail
from sats_core.data.pictures import Pixels
from sats_core.data.readers import Reader
from sats_core.errors import DatasetError

MOST_PICTURES = 200
"""Pictures that are looked at, evenly over the data set."""
LOOK_SECONDS = 10.0
"""How long a look takes at most, but for the picture that it is at."""
MOST_FAULTS = 20
SIDE = 320
"""Pixels of a picture's longer side at which it is seen here."""
SHEET = 8
"""Pictures of a contact sheet."""


@dataclass
class Look:
    """What some pictures of a data set show.

    Attributes:
        pictures: how many were looked at.
        shown: pictures that show a class, by its label value.
        pixels: of a class over all pictures, by its label value; `IGNORE` is not counted.
        own_share: sums of a class's share of each picture that shows it, by its label value.
        faults: what is wrong with pictures that cannot be read.
        duplicates: pictures that look the same as one before them.
        sheet: positions of pictures that together show every class that was found.
    """

    pictures: int = 0
    shown: dict[int, int] = field(default_factory=dict)
    pixels: dict[int, int] = field(default_factory=dict)
    own_share: dict[int, float] = field(default_factory=dict)
    faults: list[ErrorDetail] = field(default_factory=list)
    duplicates: int = 0
    sheet: tuple[int, ...] = ()


def evenly(count: int, most: int) -> list[int]:
    """Return positions of at most `most` of `count` things, evenly from first to last."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most))}) if count else []


def look(reader: Reader) -> Look:
    """Read some pictures with their labels, one after another, and say what they show."""
    ends = time.monotonic() + LOOK_SECONDS
    found, thumbnails = Look(), list[Pixels]()
    seen: list[tuple[int, Collection[int]]] = []
    for position in _scattered(evenly(len(reader.ids), MOST_PICTURES)):
        if time.monotonic() > ends:
            break
        try:
            one = reader.read_small(reader.ids[position], SIDE)
        except DatasetError as error:
            found.faults += problem_of(error).errors
            if len(found.faults) >= MOST_FAULTS:
                break
            continue
        seen.append((position, _count(found, one.label)))
        thumbnails.append(thumbnail(one.picture))
    found.faults = found.faults[:MOST_FAULTS]
    found.duplicates = int(np.count_nonzero(duplicated(thumbnails))) if thumbnails else 0
    found.sheet = _sheet(seen)
    return found


def _scattered(positions: Sequence[int]) -> list[int]:
    """Return positions in an order in which the first ones lie far apart: a look may be cut off."""
    step = max(1, round(len(positions) ** 0.5))
    return [one for start in range(step) for one in positions[start::step]]


def _count(found: Look, label: Pixels) -> Collection[int]:
    counts = value_counts(label)
    counted = int(counts.sum() - counts[IGNORE])
    classes = [int(value) for value in np.flatnonzero(counts) if value != IGNORE]
    found.pictures += 1
    for value in classes:
        found.pixels[value] = found.pixels.get(value, 0) + int(counts[value])
        found.shown[value] = found.shown.get(value, 0) + 1
        share = float(counts[value] / counted)
        found.own_share[value] = found.own_share.get(value, 0.0) + share
    return [value for value in classes if value != BACKGROUND]


def _sheet(seen: Sequence[tuple[int, Collection[int]]]) -> tuple[int, ...]:
    """Choose pictures that add classes first, then those that show most."""
    left = sorted(seen, key=lambda one: -len(one[1]))
    chosen: list[int] = []
    shown: set[int] = set()
    for position, classes in left:
        if set(classes) - shown:
            chosen.append(position)
            shown |= set(classes)
    chosen += [position for position, _ in left if position not in chosen]
    return tuple(chosen[:SHEET])
