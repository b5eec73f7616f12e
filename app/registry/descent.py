"""What came of a version, and what is lost where another one takes its place."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Model, Version
from app.db.base import JsonObject


def children(session: Session, version: Version) -> Sequence[int]:
    """Return the numbers of the versions that were learned from a version, ascending."""
    wanted = select(Version.number).where(Version.parent_id == version.id)
    return session.scalars(wanted.order_by(Version.number)).all()


def unserved(session: Session, model: Model, live: int | None, number: int | None) -> list[str]:
    """Return the classes that nobody is served any more where `live` moves to another version."""
    if live is None or number is None:
        return []
    of = {
        row.number: row.classes
        for row in session.execute(
            select(Version.number, Version.classes).where(
                Version.model_id == model.id, Version.number.in_([live, number])
            )
        )
    }
    return missing(of[live], of[number])


def missing(known: Sequence[JsonObject], others: Sequence[JsonObject]) -> list[str]:
    """Return the names of a version's classes that are not among another one's."""
    names = {entry["name"] for entry in others}
    return [entry["name"] for entry in known if entry["name"] not in names]
