"""Which classes a version takes for others, on its page."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.admin.confusion import ConfusedJson, confusion_of, largest
from app.admin.schemas import VersionJson
from app.db import Version
from app.errors import NotFoundProblem
from sats_core.evaluation.scores import Confusion

FIRST, MOST = 10, 60
"""Pairs of classes that are seen at once, and those that can be unfolded."""
MOST_CLASSES = 24
"""Rows and columns of the heat map: more are read on no screen."""
SHADES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
"""Shares at which a cell is shaded a step more: what is confused is mostly a few hundredths."""


@dataclass(frozen=True)
class Cell:
    """What share of a class's pixels is taken for a class.

    Attributes:
        share: of 1; None: no pixel is labelled as the class.
        shade: 0 to 9, how dark it is shown.
        right: whether both are the same class.
    """

    share: float | None
    shade: int
    right: bool


@dataclass(frozen=True)
class HeatMap:
    """Which share of each class is taken for each.

    Attributes:
        classes: names of the columns, in the version's order.
        rows: of each of them its name and its cells, column by column.
        left_out: classes that are confused less, for which there is no room.
    """

    classes: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    left_out: int


@dataclass(frozen=True)
class Confusions:
    """What a version takes classes for.

    Attributes:
        why: why nothing is known; None where it is.
        pictures: held-out pictures that were counted.
        compared: whether the version before was counted on them too.
        first: pairs of classes, the largest share first.
        more: those after them.
        heat: every class with every class; None where nothing is known.
        colours: `#rrggbb` of each class.
    """

    why: str | None
    pictures: int = 0
    compared: bool = False
    first: Sequence[ConfusedJson] = ()
    more: Sequence[ConfusedJson] = ()
    heat: HeatMap | None = None
    colours: Mapping[str, str] = field(default_factory=dict)


def confusions_of(row: Version, version: VersionJson) -> Confusions:
    """Return what a version takes classes for.

    Args:
        row: the version, in its session.
        version: the same as it is shown.
    """
    try:
        kept = confusion_of(row)
    except NotFoundProblem as problem:
        return Confusions(problem.detail)
    colours = {entry.name: entry.color for entry in version.classes}
    pairs = largest(kept, MOST)
    compared = kept.before is not None
    heat = heat_map(kept)
    return Confusions(None, kept.pictures, compared, pairs[:FIRST], pairs[FIRST:], heat, colours)


def heat_map(confusion: Confusion, most: int = MOST_CLASSES) -> HeatMap:
    """Return which share of each class is taken for each; of many those that are confused most."""
    pixels = np.array(confusion.pixels, np.int64)
    labelled = pixels.sum(axis=1)
    shares = pixels / np.maximum(labelled, 1)[:, None]
    wrong = shares - np.diag(np.diag(shares))
    by_confusion = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")
    shown = sorted(by_confusion[:most].tolist())

    def cell(truth: int, predicted: int) -> Cell:
        share = float(shares[truth, predicted]) if labelled[truth] else None
        return Cell(share, bisect_right(SHADES, share or 0.0), truth == predicted)

    names = [confusion.classes[at] for at in shown]
    rows = [(confusion.classes[at], [cell(at, other) for other in shown]) for at in shown]
    return HeatMap(names, rows, len(confusion.classes) - len(shown))
