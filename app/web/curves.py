"""IoU over versions, as charts show it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Model, Version
from app.registry.schemas import hex_colour

MOST_VERSIONS = 100
"""So many of the newest are drawn."""


@dataclass(frozen=True)
class Line:
    """One line of a chart; in `values` one for each version, None where it was not measured."""

    name: str
    colour: str | None
    values: list[float | None]


@dataclass(frozen=True)
class Curves:
    """Scores over versions.

    Attributes:
        versions: numbers, ascending.
        lines: the means first, then a line a class in the order in which they were learned.
    """

    versions: list[int]
    lines: list[Line]


_MEANS = {"miou_all": "all classes", "miou_old": "old classes", "miou_new": "new classes"}


def curves(session: Session, model: Model) -> Curves:
    """Return a model's scores over its newest versions, in one statement."""
    rows = session.execute(
        select(
            Version.number,
            Version.classes,
            Version.scores["iou"].label("iou"),
            *(Version.scores[name].as_float().label(name) for name in _MEANS),
        )
        .where(Version.model_id == model.id, func.json_array_length(Version.classes) > 0)
        .order_by(Version.number.desc())
        .limit(MOST_VERSIONS)
    ).all()[::-1]
    means = [
        Line(title, None, [_rounded(row._mapping[name]) for row in rows])
        for name, title in _MEANS.items()
    ]
    known: dict[str, str] = {}
    for row in rows:
        known.update({entry["name"]: hex_colour(entry["colour"]) for entry in row.classes[1:]})
    classes = [
        Line(name, colour, [_rounded(_iou(row.iou, name)) for row in rows])
        for name, colour in known.items()
    ]
    return Curves([row.number for row in rows], means + classes)


def _iou(found: Any, name: str) -> float | None:
    return found.get(name) if isinstance(found, dict) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
