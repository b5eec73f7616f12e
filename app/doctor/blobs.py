"""Every blob that a row refers to is there, and its bytes are those that were stored."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import HeldOutSet, LargeUpload, Memory, Place, Task, Version
from app.doctor.finding import Check, Finding, Installation
from app.storage import BlobDamagedError, BlobMissingError
from app.storage.errors import FORBIDDEN
from app.storage.references import COLUMNS, is_referenced


class _Reference(NamedTuple):
    key: str
    place: Place
    where: str


def find_bad_blobs(installation: Installation) -> Sequence[Finding]:
    """Return the references to a blob that is missing or damaged; reads every byte of them all."""
    with installation.snapshot() as session:
        wanted = list(_references(session))
    found = []
    for one in wanted:
        store = installation.stores.get(one.place)
        if store is None:
            what = "it lies in a memory folder that the settings do not name"
            found.append(Finding("store-unknown", what, one.where))
            continue
        try:
            store.check(one.key)
        except BlobDamagedError:
            what = f"blob {one.key} is not what was stored"
            found.append(Finding("blob-damaged", what, one.where))
        except (BlobMissingError, FileNotFoundError):
            if _needed(installation, one):  # or its row went since the look
                what = f"blob {one.key} is not in the {one.place}"
                found.append(Finding("blob-missing", what, one.where))
        except OSError as error:
            if store.elsewhere or error.errno not in FORBIDDEN:
                raise  # it is the store, and not one file
            what = f"blob {one.key} cannot be read: {error.strerror}"
            found.append(Finding("blob-unreadable", what, one.where))
    return found


def _needed(installation: Installation, one: _Reference) -> bool:
    with installation.snapshot() as session:
        return is_referenced(session, one.place, one.key)


def _references(session: Session) -> Iterator[_Reference]:
    """Yield every reference that counts, as `app.storage.references` says."""
    for version in session.scalars(select(Version).where(Version.deleted_at.is_(None))):
        for name, file in version.files.items():
            yield _Reference(file["blob"], Place.BLOB_STORE, f"{_named(version)}, file {name}")
    for place, columns in COLUMNS.items():
        for column, counts in columns:
            for row in session.scalars(select(column.class_).where(counts, column.is_not(None))):
                yield _Reference(getattr(row, column.key), place, _owner(session, row, column.key))


def _owner(session: Session, row: object, column: str) -> str:
    match row:
        case Task():
            return f"task {row.id}, {column}"
        case LargeUpload():
            return f"upload {row.id}"
        case HeldOutSet():
            return f"{_named(session.get_one(Version, row.version_id))}, held-out pictures"
        case Memory():
            return f"{_named(session.get_one(Version, row.version_id))}, memory"
    raise TypeError(f"nobody said how to name a {type(row).__name__} that holds a blob")


def _named(version: Version) -> str:
    return f"version {version.number} of {version.model.name!r}"


CHECKS = (Check(find_bad_blobs),)
