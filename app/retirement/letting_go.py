"""What rows say once pictures of retired classes are deleted."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.audit.actor import actor_of
from app.db import (
    END_STATES,
    HeldOutSet,
    LargeUpload,
    Memory,
    Place,
    Task,
    TaskState,
    present,
    utc_now,
)
from app.errors import NotFoundProblem
from app.retirement.kept_pictures import Zip
from app.retirement.purging import Purged
from app.retirement.records import GONE_BEFORE, Deleted
from app.storage import StagedBlob
from app.tasks.service import lock_task


class MovedOnError(Exception):
    """Something that was looked at has changed since: the next sweep looks again."""


@dataclass(frozen=True)
class Cut:
    """A zip that loses pictures.

    Attributes:
        kept: the zip.
        purged: what it loses.
        staged: what takes its place; None: nothing is left.
        size: bytes that it has; None: it is gone by now.
    """

    kept: Zip
    purged: Purged
    staged: StagedBlob | None
    size: int | None


@dataclass(frozen=True)
class Upload:
    """Labelled pictures that a task was posted with.

    Attributes:
        task_id: the task.
        key: of the blob.
        size: its bytes; None: it is gone by now.
    """

    task_id: str
    key: str
    size: int | None


def give_up(session: Session, upload: Upload) -> list[Deleted]:
    """Say of an ended task that its files are gone: from now on nobody tries it again. Flushes.

    Nothing is said of one that is tried again meanwhile, or was deleted.
    """
    try:
        task, _ = lock_task(session, upload.task_id)
    except NotFoundProblem:
        return []
    if task.state not in END_STATES:
        return []
    if task.state == TaskState.FAILED:
        task.tidied_at = task.tidied_at or utc_now()
    return [_deleted(upload)]


def take_back(
    session: Session, sent: Sequence[tuple[LargeUpload, Task]], said: Sequence[Deleted]
) -> list[Deleted]:
    """Delete the rows of uploads in parts, so that they keep their pictures no longer. Flushes.

    Args:
        session: one whose transaction holds `lock_model`.
        sent: the rows, each with an ended task that was made of it.
        said: what the receipt tells already: nothing is told twice.
    """
    told = {(one.task, one.sha256) for one in said}
    found = []
    for row, task in sent:
        upload = Upload(task.id, str(row.blob), row.bytes)
        session.delete(row)
        if (upload.task_id, upload.key) not in told:
            found.append(_deleted(upload))
            told.add((upload.task_id, upload.key))
    session.flush()
    return found


def _deleted(upload: Upload) -> Deleted:
    return Deleted(
        what="upload",
        version=None,
        task=upload.task_id,
        place="blob_store",
        sha256=upload.key,
        bytes=upload.size,
        pictures=None,
        left=0,
        replaced_by=None,
        gone=False,
        note=_note(upload.size),
    )


def _note(size: int | None) -> str | None:
    return GONE_BEFORE if size is None else None


def replace(session: Session, cut: Cut) -> Deleted:
    """Let a row refer to what is left of its zip, or say that all of it was deleted.

    Raises:
        MovedOnError: it refers to something else by now.
    """
    kept, purged = cut.kept, cut.purged
    row: HeldOutSet | Memory = (
        session.get_one(Memory, kept.row.id, populate_existing=True)
        if isinstance(kept.row, Memory)
        else session.get_one(HeldOutSet, kept.row.id, populate_existing=True)
    )
    if row.blob != kept.row.blob or row.deleted_at is not None:
        raise MovedOnError("kept pictures were deleted meanwhile")
    if cut.staged is None:
        row.deleted_at, row.deleted_by = present(session), actor_of(session)
    else:
        row.blob, row.pictures = cut.staged.blob.key, purged.left
        if isinstance(row, Memory):
            row.bytes, row.classes = cut.staged.blob.size, dict(purged.shown)
        else:
            row.classes = [name for name in row.classes if name not in kept.names]
    return Deleted(
        what="replay_pictures" if isinstance(row, Memory) else "held_out_pictures",
        version=kept.version,
        task=None,
        place="memory_folder" if kept.place == Place.MEMORY_FOLDER else "blob_store",
        sha256=kept.row.blob,
        bytes=cut.size,
        pictures=purged.gone,
        left=purged.left,
        replaced_by=cut.staged.blob.key if cut.staged else None,
        gone=False,
        note=_note(cut.size),
    )
