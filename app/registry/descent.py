"""What came of a version, and what is lost where another one takes its place."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Model, Version


def children(session: Session, version: Version) -> Sequence[int]:
    """Return the numbers of the versions that were learned from a version, ascending."""
    wanted = select(Version.number).where(Version.parent_id == version.id)
    return session.scalars(wanted.order_by(Version.number)).all()


def unserved(session: Session, model: Model, live: int | None, number: int | None) -> list[str]:
    """Return the classes that nobody is served any more where `live` moves to another version."""
    if live is None or number is None:
        return []
    of = {
        row.number: [entry["name"] for entry in row.classes]
        for row in session.execute(
            select(Version.number, Version.classes).where(
                Version.model_id == model.id, Version.number.in_([live, number])
            )
        )
    }
    return [name for name in of[live] if name not in of[number]]
