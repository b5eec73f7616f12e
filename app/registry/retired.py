"""Classes that were taken away: no class is given their index again. Web-free."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import ModelClass, Version
from app.db.base import JsonObject
from app.registry.service import lineage

MARK = "\x7fretired "
"""What the name of a retired class's row begins with: no class can be called so."""


def retire_indices(session: Session, model_id: int, indices: Collection[int]) -> None:
    """Give indices to nobody any more, of a class with the same name neither. Flushes.

    Args:
        session: one whose transaction holds `lock_model`.
        model_id: the model.
        indices: of classes that it learned; those that are retired already stay so.
    """
    rows = select(ModelClass).where(
        ModelClass.model_id == model_id,
        ModelClass.index.in_(list(indices)),
        ModelClass.retired_name.is_(None),
    )
    for row in session.scalars(rows):
        row.retired_name, row.name = row.name, f"{MARK}{row.index}"
    session.flush()


def indices_of(version: Version) -> dict[str, int]:
    """Return the mask value of each class of a version, by its name."""
    return {str(entry["name"]): int(entry["index"]) for entry in version.classes}


def same_classes(names: Sequence[str], of: Version, start: Version) -> tuple[str, ...]:
    """Return those of a version's classes that another version knows as the same.

    A class that was retired since, or was retired and taught again, has not the same index.
    """
    then, now = indices_of(of), indices_of(start)
    return tuple(name for name in names if name in now and now[name] == then.get(name))


def retired_names(session: Session, version: Version) -> tuple[str, ...]:
    """Return the classes that were taken away on a version's line and that it does not know.

    A task that does not name them does not teach them again.
    """
    line = list(lineage(session, version))
    taken = select(Version.retirement).where(Version.id.in_(line), Version.retirement.is_not(None))
    names = {
        name: None for stored in session.scalars(taken) if stored for name in stored["retired"]
    }
    known = indices_of(version)
    return tuple(name for name in names if name not in known)


def brought_back(session: Session, live: Version | None, known: Mapping[str, int]) -> list[str]:
    """Return the classes of a new version that were taken away on the line of the live one.

    Args:
        session: to read with.
        live: the live version; None: there is none.
        known: mask value of each of the new version's classes, by its name.
    """
    if live is None:
        return []
    line = list(lineage(session, live))
    taken = select(Version.retirement).where(Version.id.in_(line), Version.retirement.is_not(None))
    gone = {index for stored in session.scalars(taken) if stored for index in stored["indices"]}
    return [name for name, index in known.items() if index in gone]


def unaware_version(session: Session, version: Version, names: Collection[str]) -> Version | None:
    """Return the last version of a line that never knew any of some classes and stands.

    None: there is none; the first one knew one of them, or none before that stands.
    """
    line = lineage(session, version)
    found = {
        one.id: one for one in session.scalars(select(Version).where(Version.id.in_(list(line))))
    }
    last = None
    for version_id in line:
        one = found[version_id]
        if _knows(one.classes, names):
            break
        if one.deleted_at is None:
            last = one
    return last


def _knows(classes: Sequence[Mapping[str, object] | JsonObject], names: Collection[str]) -> bool:
    return any(entry["name"] in names for entry in classes)
