"""Who refers to a blob: the one place that knows, and the one that deletes.

A blob belongs to nobody: whoever stores the same bytes shares it. So three rules hold.

- Who adds a row that refers to a blob locks the blob, publishes the staged bytes and commits, in
  one transaction. Whether the blob was there before does not matter.
- Who deletes a blob locks it, sees that no row refers to it, deletes it and commits.
- Locks on blobs are taken before any other, in the order of their keys.

Between the two nothing can come: the second of them sees what the first one left.
"""

import errno
from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    String,
    and_,
    cast,
    func,
    inspect,
    or_,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import (
    END_STATES,
    HeldOutSet,
    LargeUpload,
    LargeUploadState,
    Memory,
    Place,
    Task,
    TaskState,
    Version,
    read_session,
)
from app.db.base import database_time
from app.storage.base import BlobStore
from app.storage.errors import BlobStoreDownError
from app.storage.parts import PARTS

_Condition = ColumnElement[bool]
_Column = InstrumentedAttribute[str] | InstrumentedAttribute[str | None]


def _kept(place: Place) -> _Condition:
    return and_(Memory.place == place, Memory.deleted_at.is_(None))


RUNNABLE: _Condition = or_(
    Task.state.in_(state for state in TaskState if state not in END_STATES),
    and_(Task.state == TaskState.FAILED, Task.tidied_at.is_(None)),  # it may be tried again
)
"""Of tasks that keep what they were posted with."""

_STANDING: _Condition = Version.deleted_at.is_(None)

COLUMNS: dict[Place, tuple[tuple[_Column, _Condition], ...]] = {
    Place.BLOB_STORE: (
        (Task.dataset, RUNNABLE),
        (Task.evaluation, RUNNABLE),
        (Task.checkpoint, RUNNABLE),
        (LargeUpload.blob, LargeUpload.expires_at > database_time()),
        (HeldOutSet.blob, HeldOutSet.deleted_at.is_(None)),
        (Memory.blob, _kept(Place.BLOB_STORE)),
    ),
    Place.MEMORY_FOLDER: ((Memory.blob, _kept(Place.MEMORY_FOLDER)),),
}
"""Every column that holds a blob's key, and which of its rows count. A version's files, which are
JSON in the blob store, are the rest."""


def lock_blobs(session: Session, keys: Collection[str]) -> None:
    """Keep everybody else from adding and from deleting these blobs until the transaction ends.

    SQLite has one writer at a time, so that beginning to write is all the lock it needs.

    Raises:
        RuntimeError: the session is not one that writes, so it would lock nothing.
    """
    connection = session.connection()
    if not connection.get_execution_options().get("write"):
        raise RuntimeError("blobs are locked in a session that writes")
    if connection.dialect.name == "postgresql":
        for number in sorted({int(key[:15], 16) for key in keys}):
            session.execute(select(func.pg_advisory_xact_lock(number)))


def is_referenced(session: Session, place: Place, key: str) -> bool:
    """Return whether any row refers to a blob."""
    if _in_columns(session, place, key):
        return True
    holds = select(Version.id).where(cast(Version.files, String).contains(key), _STANDING)
    return place == Place.BLOB_STORE and session.scalar(holds.limit(1)) is not None


def referenced(session: Session, place: Place) -> set[str]:
    """Return the key of every blob that any row refers to."""
    found: set[str] = set()
    for column, counts in COLUMNS[place]:
        found.update(key for key in session.scalars(select(column).where(counts)) if key)
    if place == Place.BLOB_STORE:
        for files in session.scalars(select(Version.files).where(_STANDING)):
            found.update(str(entry["blob"]) for entry in files.values())
    return found


def known(engine: Engine, place: Place) -> set[str]:
    """Return the same; of a database that has no tables yet, nothing.

    Raises:
        BlobStoreDownError: nobody can tell, the database does not answer.
    """
    try:
        if not inspect(engine).has_table(Version.__tablename__):
            return set()
        with read_session(engine) as session:
            return referenced(session, place)
    except SQLAlchemyError as error:
        said = "the database does not say what lies there"
        raise BlobStoreDownError(errno.EAGAIN, said) from error


def sending(session: Session) -> set[str]:
    """Return the name of all parts of each upload that may still become a blob."""
    ids = select(LargeUpload.id).where(
        LargeUpload.state.in_((LargeUploadState.OPEN, LargeUploadState.CHECKING)),
        LargeUpload.expires_at > database_time(),
    )
    return {PARTS + one for one in session.scalars(ids)}


def delete_unreferenced(session: Session, store: BlobStore, place: Place, key: str) -> bool:
    """Delete a blob unless a row refers to it; return whether none does.

    `session` writes, and must hold no lock but those on blobs.
    """
    lock_blobs(session, [key])
    if is_referenced(session, place, key):
        return False
    store.delete(key)
    return True


def delete_checkpoint(session: Session, store: BlobStore, key: str) -> bool:
    """Do the same with what a training wrote to go on from, which is no version's file.

    It holds what only a training needs. So versions' files, all of which would be read as text
    each time that a running task replaces its checkpoint, are not looked at.
    """
    lock_blobs(session, [key])
    if _in_columns(session, Place.BLOB_STORE, key):
        return False
    store.delete(key)
    return True


def _in_columns(session: Session, place: Place, key: str) -> bool:
    wanted: list[Select[Any]] = [
        select(column).where(column == key, counts) for column, counts in COLUMNS[place]
    ]
    return any(session.scalar(one.limit(1)) is not None for one in wanted)
