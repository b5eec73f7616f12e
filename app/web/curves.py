"""IoU over versions, as a page's chart draws it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.registry.curves import Point
from app.registry.schemas import hex_colour
from sats_core.classes import voc_colour

MOST_VERSIONS = 100
"""So many of the newest are drawn."""


@dataclass(frozen=True)
class Line:
    """One line of a chart; in `values` one for each version, None where it was not measured."""

    name: str
    colour: str | None
    values: list[float | None]


@dataclass(frozen=True)
class Chart:
    """Scores over versions.

    Attributes:
        versions: numbers, ascending.
        lines: the means first, then a line a class in the order in which they were learned.
    """

    versions: list[int]
    lines: list[Line]


_MEANS = {"miou_all": "all classes", "miou_old": "old classes", "miou_new": "new classes"}


def chart(points: Sequence[Point], learned: Mapping[str, int]) -> Chart:
    """Return how points look, given the index of every class of their model."""
    means = [
        Line(title, None, [_rounded(point.means[name]) for point in points])
        for name, title in _MEANS.items()
    ]
    scored = {name for point in points for name in point.iou}
    classes = [
        Line(
            name, hex_colour(voc_colour(index)), [_rounded(point.iou.get(name)) for point in points]
        )
        for name, index in learned.items()
        if name in scored
    ]
    return Chart([point.number for point in points], means + classes)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
