"""A model's versions in a list: of each row what a line of it shows, as rows are long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.db import Version
from app.records.paging import NEWEST, behind

_Parent = aliased(Version)


@dataclass(frozen=True)
class ListedVersion:
    """A version, as a line of a list shows it.

    Attributes:
        number: in its model.
        parent: number of the version that it was learned from.
        created_at: when it was registered.
        deleted_at: when its files were deleted; None: they are there.
        new_classes: what it brought.
        retired: what was taken away from its parent.
        imported: whether it was trained elsewhere.
        held: whether the gate said no.
        method: how its step fought forgetting; None: there was no step.
        miou_all: mean IoU of all classes; None: not measured; and of
        miou_old: old, and
        miou_new: new ones.
    """

    number: int
    parent: int | None
    created_at: datetime
    deleted_at: datetime | None
    new_classes: Sequence[str]
    retired: Sequence[str]
    imported: bool
    held: bool
    method: str | None
    miou_all: float | None
    miou_old: float | None
    miou_new: float | None


def listed_versions(
    session: Session, model_id: int, limit: int, place: int | None = None
) -> list[ListedVersion]:
    """Return a model's versions, the newest first; `place` is the last number seen."""
    names = ("miou_all", "miou_old", "miou_new")
    means = [Version.scores[name].as_float().label(name) for name in names]
    wanted = (
        select(
            Version.number,
            _Parent.number.label("parent"),
            Version.created_at,
            Version.deleted_at,
            Version.new_classes,
            Version.retirement["retired"].label("retired"),
            Version.origin.is_not(None).label("imported"),
            Version.gate["passed"].as_boolean().is_(False).label("held"),
            Version.settings["method"].as_string().label("method"),
            *means,
        )
        .outerjoin(_Parent, _Parent.id == Version.parent_id)
        .where(Version.model_id == model_id)
    )
    wanted = behind(wanted, [Version.number], None if place is None else [place], NEWEST)
    return [
        ListedVersion(**{**row._mapping, "retired": row.retired or ()})
        for row in session.execute(wanted.limit(limit))
    ]
