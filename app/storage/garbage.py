"""Garbage collection: blobs that nothing refers to, and writes that never ended.

A process that dies between a file and its row leaves either. Nothing that works as it should
makes garbage, so nothing waits for the collector.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.db import Model, Place, present, read_session, write_session
from app.db.migrate import is_newer
from app.errors import ConflictProblem
from app.settings import Settings
from app.storage.base import BlobStore
from app.storage.blobs import Entry
from app.storage.opening import open_memory
from app.storage.references import delete_unreferenced, referenced, sending


class StoreMismatchProblem(ConflictProblem):
    """A store and the database do not seem to be of one service; nothing is collected."""

    slug = "store-mismatch"
    title = "The store does not belong to the database"


class NewerDatabaseProblem(ConflictProblem):
    """A newer release has migrated the database: what it refers to is not all known here."""

    slug = "database-newer"
    title = "The database is a newer release's"


def stores_of(
    blobs: BlobStore, settings: Settings, engine: Engine | None
) -> dict[Place, BlobStore]:
    """Return every place that a process's settings keep blobs in; `engine` as of `open_store`."""
    memories = open_memory(settings, engine)
    found = {Place.BLOB_STORE: blobs}
    return found if memories is None else {**found, Place.MEMORY_FOLDER: memories}


@dataclass(frozen=True)
class Garbage:
    """What may be removed.

    Attributes:
        place: where it lies.
        entry: the blob or the write.
        is_blob: whether it is a blob; else a write that never became one.
    """

    place: Place
    entry: Entry
    is_blob: bool


@dataclass(frozen=True)
class Collector:
    """Finds and removes garbage. Any number may run at once, beside everything else.

    Attributes:
        engine: the database that knows what is referred to.
        stores: every place that it keeps blobs in.
        grace: seconds that must have passed since something was written.
    """

    engine: Engine
    stores: Mapping[Place, BlobStore]
    grace: float

    @classmethod
    def of(cls, engine: Engine, blobs: BlobStore, settings: Settings) -> "Collector":
        """Return the collector of a process's settings."""
        return cls(engine, stores_of(blobs, settings, engine), settings.gc_grace_seconds)

    def find(self) -> list[Garbage]:
        """Return what is garbage now, the oldest first; removes nothing.

        Raises:
            StoreMismatchProblem: the database does not know a single blob of a store that has some
                to remove: more likely a setting is wrong than everything is garbage.
            NewerDatabaseProblem: a newer release knows what is garbage.
        """
        if is_newer(self.engine):
            raise NewerDatabaseProblem(
                "a newer release has migrated the database, and may refer to blobs in ways that "
                "this one does not know: garbage is left to the newer one"
            )
        # By a clock that is ahead, this host's or the database's, what was just written is old.
        before = min(time.time(), self._present()) - self.grace
        found: list[Garbage] = []
        for place, store in self.stores.items():
            unknown = self._unknown(place, store, before)
            unfinished = self._unfinished(store, before)
            found += [Garbage(place, entry, is_blob=True) for entry in unknown]
            found += [Garbage(place, entry, is_blob=False) for entry in unfinished]
        return sorted(found, key=lambda one: (one.entry.modified, one.entry.name))

    def remove(self, found: Sequence[Garbage]) -> list[Garbage]:
        """Remove garbage; returns what was removed: something may refer to a blob by now."""
        return [one for one in found if self._remove(one)]

    def _present(self) -> float:
        with read_session(self.engine) as session:
            return present(session).timestamp()

    def _unknown(self, place: Place, store: BlobStore, before: float) -> list[Entry]:
        entries = list(store.entries())
        with read_session(self.engine) as session:
            known = referenced(session, place)
            old = [entry for entry in entries if entry.modified < before]
            unknown = [entry for entry in old if entry.name not in known]
            if unknown:
                _check_same_service(session, place, known, entries)
        return unknown

    def _unfinished(self, store: BlobStore, before: float) -> list[Entry]:
        found = [entry for entry in store.unfinished() if entry.modified < before]
        with read_session(self.engine) as session:
            needed = sending(session)
        return [entry for entry in found if entry.name not in needed]

    def _remove(self, garbage: Garbage) -> bool:
        store, entry = self.stores[garbage.place], garbage.entry
        if not garbage.is_blob:
            store.discard(entry.name)
            return True
        with write_session(self.engine) as session:
            return delete_unreferenced(session, store, garbage.place, entry.name)


def _check_same_service(
    session: Session, place: Place, known: set[str], entries: Sequence[Entry]
) -> None:
    if session.scalar(select(Model.id).limit(1)) is None:
        raise StoreMismatchProblem(
            f"the {place} holds blobs and the database knows no model: SATS_DATABASE_URL and "
            "SATS_DATA_DIR must be those of one service"
        )
    if known and not any(entry.name in known for entry in entries):
        raise StoreMismatchProblem(
            f"the {place} holds blobs and none of those that the database refers to: "
            "SATS_DATABASE_URL, SATS_DATA_DIR and SATS_MEMORY_DIR must be those of one service"
        )
