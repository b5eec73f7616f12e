"""What a task works with, laid out in its work folder: uploads, the old version, kept pictures."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.db import Memory, Place, Task, Version
from app.errors import InvalidDatasetProblem
from app.registry.files import verified, version_file
from app.registry.held_out import held_out_sets
from app.registry.memory import memory_store
from app.registry.retired import same_classes
from app.settings import Settings
from app.storage import BlobDamagedError, BlobMissingError, BlobStore
from sats_core.job import HeldOutPictures
from worker.folder import WorkFolder


def upload(blobs: BlobStore, key: str, what: str, folder: WorkFolder) -> Path:
    """Return the file of what was posted, for as long as the work folder is there.

    Raises:
        InvalidDatasetProblem: it is gone, or damaged.
    """
    try:
        return blobs.held(key, folder.uploads).resolve()
    except BlobMissingError as error:
        raise InvalidDatasetProblem(f"the posted {what} is gone; post it again") from error
    except BlobDamagedError as error:
        message = f"the posted {what} is damaged in the blob store; post it again"
        raise InvalidDatasetProblem(message) from error


def version_files(blobs: BlobStore, version: Version, target: Path) -> Path:
    """Lay a version out in `target`, afresh on every try.

    They are links, checked anew: many tries cost no room, and deleting the version breaks none.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in version.files:
        _link(version_file(blobs, version, name), target / name)
    return target


def replay(
    engine: Engine, blobs: BlobStore, settings: Settings, memory: Memory, target: Path
) -> Path | None:
    """Lay a version's replay pictures out in the work folder; None where they were deleted.

    A task that runs keeps its own link to them, so that deleting them does not break it.
    """
    target.unlink(missing_ok=True)
    if memory.deleted_at is not None:
        return None
    store = memory_store(engine, settings, blobs, Place(memory.place))
    _link(verified(store, memory.blob, "the pictures kept for replay"), target)
    return target


@dataclass(frozen=True)
class KeptPictures:
    """A set of held-out pictures that a version is scored on.

    Attributes:
        blob: key of the zip.
        classes: what it is labelled for and the version knows.
        compared: whether whoever posted the task may be told of copies of them.
        version: number of the version that keeps it.
    """

    blob: str
    classes: tuple[str, ...]
    compared: bool
    version: int


def scored_on(session: Session, task: Task, start: Version) -> list[KeptPictures]:
    """Return the held-out pictures that what comes of a version is scored on, base first.

    Of a class that was retired since they were kept they say nothing, though another one may be
    called so by now.
    """
    kept = held_out_sets(session, start)
    ids = [pictures.version_id for pictures in kept]
    versions = {one.id: one for one in session.scalars(select(Version).where(Version.id.in_(ids)))}
    own = _own_versions(session, task, ids)
    found = [
        KeptPictures(
            pictures.blob,
            same_classes(pictures.classes, versions[pictures.version_id], start),
            pictures.version_id in own,
            versions[pictures.version_id].number,
        )
        for pictures in kept
    ]
    return [one for one in found if one.classes]


def _own_versions(session: Session, task: Task, versions: Sequence[int]) -> set[int]:
    """Return the versions whose held-out pictures whoever posted a task may be told of.

    Those that its own key posted; an admin's all. Of others, a count of copies would tell whether
    a picture is among them.
    """
    if task.by_admin:
        return set(versions)
    posted = select(Version.id).join(Task, Task.id == Version.task_id)
    own = Task.key_id.is_not_distinct_from(task.key_id)
    return set(session.scalars(posted.where(Version.id.in_(versions), own)))


def held_out(
    blobs: BlobStore, kept: Sequence[KeptPictures], target: Path
) -> tuple[HeldOutPictures, ...]:
    """Lay sets of held-out pictures out in the work folder, for the same reason."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    laid_out = []
    for number, one in enumerate(kept):
        path = target / f"{number}.zip"
        _link(verified(blobs, one.blob, "a set of held-out pictures"), path)
        laid_out.append(
            HeldOutPictures(
                path=path, classes=one.classes, compared=one.compared, version=one.version
            )
        )
    return tuple(laid_out)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
