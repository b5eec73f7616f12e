"""Scores over versions, as charts show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from pydantic import BaseModel, ValidationError
from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session, aliased

from app.db import Model, ModelClass, Version

log = structlog.get_logger(__name__)
_Other = aliased(Version)

MEANS = ("miou_old", "miou_new", "miou_all", "mean_forgetting")


@dataclass(frozen=True)
class Point:
    """What one version scored; None where it was not measured.

    Attributes:
        id: of the version.
        number: of the version, in its model.
        created_at: when it was registered.
        classes: how many it knows, background not counted.
        means: by the names of `MEANS`.
        iou: of each class, background included.
    """

    id: int
    number: int
    created_at: datetime
    classes: int
    means: Mapping[str, float | None]
    iou: Mapping[str, float | None]


class _Charted(BaseModel):
    """The scores that charts show; of the others no objects are made. Old rows may lack some."""

    iou: dict[str, float | None] | None = None
    miou_old: float | None = None
    miou_new: float | None = None
    miou_all: float | None = None
    mean_forgetting: float | None = None


def curves(
    session: Session,
    models: Sequence[Model],
    newest: int | None = None,
    before: int | None = None,
) -> dict[int, list[Point]]:
    """Return the versions of each model by the model's id, the oldest first.

    One statement for all. The database hands out scores as they were written: each figure that it
    took out of them would have it parse them anew.

    Args:
        session: the transaction.
        models: whose.
        newest: how many of a model's versions at most; None: all.
        before: only versions with lower numbers; None: any.
    """
    known = func.json_array_length(Version.classes).label("known")
    scores = cast(Version.scores, Text).label("scores")
    wanted = select(Version.model_id, Version.id, Version.number, Version.created_at, known, scores)
    wanted = wanted.where(Version.model_id.in_([model.id for model in models]))
    if before is not None:
        wanted = wanted.where(Version.number < before)
    if newest is not None:
        last = select(func.max(_Other.number)).where(_Other.model_id == Version.model_id)
        if before is not None:
            last = last.where(_Other.number < before)
        wanted = wanted.where(Version.number > last.scalar_subquery() - newest)
    found: dict[int, list[Point]] = {model.id: [] for model in models}
    for row in session.execute(wanted.order_by(Version.model_id, Version.number)):
        charted = _charted(row.scores)
        point = Point(
            id=row.id,
            number=row.number,
            created_at=row.created_at,
            classes=row.known - 1,
            means={name: getattr(charted, name) for name in MEANS},
            iou=charted.iou or {},
        )
        found[row.model_id].append(point)
    return found


def _charted(scores: str | None) -> _Charted:
    """Return a row's scores; of one that cannot be read none, so that charts show the others."""
    try:
        return _Charted.model_validate_json(scores or "{}")
    except ValidationError as error:
        log.warning("stored_record_unreadable", kind="Scores", error=str(error))
        return _Charted()


def learned(session: Session, model: Model) -> dict[str, int]:
    """Return name and index of every class that a model learned in any version, by index.

    Of a class that was retired and taught again the index is the last one.
    """
    wanted = select(ModelClass).where(ModelClass.model_id == model.id).order_by(ModelClass.index)
    return {row.called: row.index for row in session.scalars(wanted)}
