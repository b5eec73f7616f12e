"""Replay memory: which pictures a version keeps, and where."""

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.db import Memory, Place, Version
from app.errors import NotFoundProblem
from app.settings import Settings
from app.storage import BlobStore, open_memory
from sats_core.job import MemoryRecord


def memory_place(settings: Settings) -> Place:
    """Return where replay pictures are kept from now on."""
    return Place.MEMORY_FOLDER if settings.memory_dir else Place.BLOB_STORE


def memory_store(engine: Engine, settings: Settings, blobs: BlobStore, place: Place) -> BlobStore:
    """Return the store of a place.

    Raises:
        NotFoundProblem: the place is the memory folder, which the settings name no more.
    """
    if place == Place.BLOB_STORE:
        return blobs
    memories = open_memory(settings, engine)
    if memories is None:
        raise NotFoundProblem(
            "the pictures lie in a memory folder; set SATS_MEMORY_DIR to it to reach them"
        )
    return memories


def memory_of(session: Session, version: Version) -> Memory | None:
    """Return what a version keeps, or kept before it was deleted; None where it never did."""
    return session.scalar(select(Memory).where(Memory.version_id == version.id))


def kept_memory(session: Session, version: Version) -> Memory:
    """Return what a version keeps, or kept before it was deleted.

    Raises:
        NotFoundProblem: it never kept any.
    """
    memory = memory_of(session, version)
    if memory is None:
        raise NotFoundProblem(f"version {version.number} keeps no training pictures")
    return memory


def memories_of(session: Session, versions: Sequence[Version]) -> dict[int, Memory]:
    """Return what versions keep, or kept, by the version's row id."""
    ids = [version.id for version in versions]
    found = session.scalars(select(Memory).where(Memory.version_id.in_(ids)))
    return {memory.version_id: memory for memory in found}


def add_memory(
    session: Session, version: Version, record: MemoryRecord, blob: str, size: int, place: Place
) -> None:
    """Note what a version keeps; its blob is locked and published."""
    session.add(
        Memory(
            version_id=version.id,
            blob=blob,
            bytes=size,
            place=place,
            pictures=record.pictures,
            classes=record.classes,
        )
    )
