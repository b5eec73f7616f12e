"""What a host has left of blobs that were deleted by another one: copies are dropped soon.

A host of an object store keeps the blobs that it used last, and what it made of graphs. Whoever
deletes a version deletes its own copies; every other host learns of it here, from the database.
"""

from collections.abc import Iterator, Set
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db import Erasure, HeldOutSet, Memory, Place, Task, Version, present, read_session
from app.db.base import utc_text
from app.inference.ready_graphs import ReadyGraphs
from app.settings import Settings
from app.storage import BlobStore
from app.storage.references import is_referenced

LOOK_SECONDS = 60.0
"""Between two looks."""
OVERLAP = timedelta(minutes=10)
"""A row says when it was marked, and is seen when that is committed."""
_AT_ONCE = 500
"""Keys of one statement."""

log = structlog.get_logger(__name__)


class Copies:
    """The copies of one host; its processes may all look after them.

    Args:
        engine: the database, which knows what was deleted.
        blobs: what keeps copies of blobs.
        ready: what was made of some.
    """

    def __init__(self, engine: Engine, blobs: BlobStore, ready: ReadyGraphs) -> None:
        self._engine = engine
        self._blobs = blobs
        self._ready = ready
        self._since: datetime | None = None
        self._left: set[str] = set()  # deleted, and asked for a moment before

    @classmethod
    def of(cls, engine: Engine, blobs: BlobStore, settings: Settings) -> "Copies":
        """Return those of a process's settings."""
        return cls(engine, blobs, ReadyGraphs.of(settings, blobs))

    def drop_deleted(self) -> None:
        """Drop what rows say was deleted since the last look, where nothing else refers to it.

        A host that has nothing asks the database nothing. The bucket is not asked: where it is
        down, copies go all the same.
        """
        here = {*self._blobs.copies(), *self._ready.graphs()}
        if not here:
            return
        with read_session(self._engine) as session:
            began = present(session)
            said = {*_deleted(session, self._since), *_ended(session, here), *self._left}
            gone = {key for key in here & said if not is_referenced(session, Place.BLOB_STORE, key)}
        self._since = began - OVERLAP
        self._left = {key for key in gone if not self._drop(key)}

    def _drop(self, key: str) -> bool:
        if not self._blobs.drop_copy(key):
            return False
        self._ready.forget(key)
        log.info("copy_dropped", blob=key)
        return True


def _deleted(session: Session, since: datetime | None) -> Iterator[str]:
    """Yield the keys of what was deleted of versions; `since` None: ever."""
    for files in session.scalars(select(Version.files).where(_after(Version.deleted_at, since))):
        yield from (str(entry["blob"]) for entry in files.values())
    for kept in (HeldOutSet, Memory):
        yield from session.scalars(select(kept.blob).where(_after(kept.deleted_at, since)))
    yield from _erased(session, since)


def _erased(session: Session, since: datetime | None) -> Iterator[str]:
    """Yield the keys of zips that pictures were taken out of; the rows name what replaced them."""
    erased = select(Version.receipt).where(Version.erasure.in_((Erasure.BEGUN, Erasure.DONE)))
    if since is not None:
        erased = erased.where(Version.receipt["at"].as_string() > utc_text(since))
    for receipt in session.scalars(erased):
        yield from (str(one["sha256"]) for one in (receipt or {}).get("deleted", ()))


def _after(
    column: InstrumentedAttribute[datetime | None], since: datetime | None
) -> ColumnElement[bool]:
    return column.is_not(None) if since is None else column > since


def _ended(session: Session, here: Set[str]) -> Iterator[str]:
    """Yield those of some blobs that were posted with, or written by, a task that has ended."""
    keys = sorted(here)
    for column in (Task.dataset, Task.evaluation, Task.checkpoint):
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            ended = select(column).where(column.in_(some), Task.finished_at.is_not(None))
            yield from (key for key in session.scalars(ended) if key is not None)
