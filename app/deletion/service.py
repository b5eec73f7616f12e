"""Deletion on request: of versions, held-out pictures and ended tasks (decision 17).

Rows first, bytes after: what these functions return is freed once their transaction is committed
(`app.deletion.freeing`). In between the bytes are garbage, never the other way round.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.audit.actor import actor_of
from app.audit.service import Action, record
from app.db import (
    END_STATES,
    Model,
    Place,
    Task,
    TaskEvent,
    TaskLog,
    TaskState,
    Version,
    present,
    utc_now,
)
from app.db.base import utc_text
from app.errors import NotFoundProblem
from app.registry.held_out import held_out_of
from app.registry.memory import kept_memory, memory_of
from app.registry.problems import VersionInUseProblem
from app.registry.service import get_version, live_version, lock_model
from app.tasks.problems import TaskNotEndedProblem
from app.tasks.service import lock_task
from app.tasks.states import standing


@dataclass(frozen=True)
class Removal:
    """What a deletion comes to.

    Attributes:
        deleted: what is gone, in words.
        kept: what stays, and why.
        blobs: what nothing here refers to any more; somebody else still may.
        folder: id of the task whose work folder is not needed any more.
    """

    deleted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    blobs: tuple[tuple[Place, str], ...] = ()
    folder: str | None = None


def delete_version(
    session: Session, places: Collection[Place], model: Model, number: int
) -> Removal:
    """Delete a version's files, held-out pictures and memory; deleting twice is no error. Flushes.

    Its row stays and says when: numbers and lineages have no gaps, scores stay comparable.

    Args:
        session: the transaction.
        places: where this process can delete.
        model: the version's model.
        number: the version's number.

    Raises:
        NotFoundProblem: no such version.
        VersionInUseProblem: it is live, a parent, what a task under way starts from, or its memory
            lies in a folder that the settings do not name.
    """
    version = get_version(session, model.id, number)
    _lock(session, version)
    if version.deleted_at is not None:
        return Removal()
    reasons = _needed_by(session, version)
    memory = memory_of(session, version)
    if memory is not None and memory.deleted_at is None and memory.place not in places:
        reasons.append("its replay pictures lie in a memory folder: set SATS_MEMORY_DIR to it")
    if reasons:
        raise VersionInUseProblem(f"version {number} is not deleted: {'; '.join(reasons)}")
    version.deleted_at, version.deleted_by = present(session), actor_of(session)
    files = tuple((Place.BLOB_STORE, str(file["blob"])) for file in version.files.values())
    pictures = _forget_held_out(session, version)
    replay: tuple[tuple[Place, str], ...] = ()
    if memory is not None and memory.deleted_at is None:
        memory.deleted_at, memory.deleted_by = version.deleted_at, version.deleted_by
        replay = ((Place(memory.place), memory.blob),)
    record_deletion(session, Action.VERSION_DELETE, version, "")
    parts = [f"version {number}'s {len(files)} files"]
    parts += ["its held-out pictures"] if pictures else []
    parts += ["its replay pictures"] if replay else []
    return Removal(
        deleted=tuple(parts),
        kept=("its record, which says when it was deleted",),
        blobs=(*files, *pictures, *replay),
    )


def delete_held_out(session: Session, version: Version) -> Removal:
    """Delete the held-out pictures that came with a version; deleting twice is no error. Flushes.

    Versions after it are not scored on its classes any more: their forgetting is not measured, and
    the gate does not guard them. A step that runs goes on with what it has.

    Raises:
        NotFoundProblem: the version never kept any.
    """
    _lock(session, version)
    kept = held_out_of(session, version)
    if kept is None:
        raise NotFoundProblem(f"version {version.number} keeps no held-out pictures")
    blobs = _forget_held_out(session, version)
    if not blobs:
        return Removal()
    record_deletion(session, Action.HELD_OUT_DELETE, version, "/held-out")
    return Removal(
        deleted=(f"{kept.pictures} held-out pictures",),
        kept=("the record of them",),
        blobs=blobs,
    )


def delete_memory(session: Session, places: Collection[Place], version: Version) -> Removal:
    """Delete a version's replay pictures; deleting twice is no error. Flushes.

    Args:
        session: the transaction.
        places: where this process can delete.
        version: the version.

    Raises:
        NotFoundProblem: the version never kept any, or they lie in a folder that the settings do
            not name.
    """
    _lock(session, version)
    memory = kept_memory(session, version)
    if memory.deleted_at is not None:
        return Removal()
    if memory.place not in places:
        raise NotFoundProblem(
            "the pictures lie in a memory folder; set SATS_MEMORY_DIR to it to reach them"
        )
    memory.deleted_at, memory.deleted_by = present(session), actor_of(session)
    name = version.model.name
    record(
        session,
        Action.MEMORY_DELETE,
        f"/admin/models/{name}/versions/{version.number}/memory",
        model=name,
        before={"pictures": memory.pictures, "deleted_at": None},
        after={"pictures": 0, "deleted_at": utc_text(memory.deleted_at)},
    )
    return Removal(
        deleted=(f"{memory.pictures} replay pictures",),
        kept=("the record of them",),
        blobs=((Place(memory.place), memory.blob),),
    )


def delete_task(session: Session, task_id: str) -> Removal:
    """Delete an ended task: events, log, upload, and the row itself where it made no version.

    The row of a task that made a version stays as that version's record. Flushes.

    Raises:
        NotFoundProblem: no such task.
        TaskNotEndedProblem: it, or its preview, has not ended.
    """
    task, preview = lock_task(session, task_id)
    if task.state not in END_STATES:
        state = standing(task.state).state
        raise TaskNotEndedProblem(f"the task has not ended: it is {state}; cancel it first")
    if preview is not None and preview.state not in END_STATES:
        raise TaskNotEndedProblem(
            f"the task's preview, {preview.id}, has not ended: cancel it first"
        )
    name = task.model.name
    told, _ = forget_history(session, [task_id])
    deleted = [f"{told} events and the log"] if told else []
    blobs: tuple[tuple[Place, str], ...] = ()
    if task.state == TaskState.FAILED and task.tidied_at is None:
        task.tidied_at = utc_now()  # from now on it cannot be tried again
        blobs = tuple((Place.BLOB_STORE, key) for key in task.blobs)
        deleted.append("what was posted with it")
    made = session.scalar(select(Version.number).where(Version.task_id == task_id))
    if made is None:
        session.execute(update(Task).where(Task.preview_of == task_id).values(preview_of=None))
        session.delete(task)
        deleted.append("the task")
    before = standing(task.state).said()
    record(session, Action.TASK_DELETE, f"/tasks/{task_id}", model=name, before=before)
    return Removal(
        deleted=tuple(deleted),
        kept=() if made is None else (f"the task's record: it made version {made}",),
        blobs=blobs,
        folder=task_id,
    )


def record_deletion(session: Session, action: Action, version: Version, part: str) -> None:
    """Write down that a version, or a part of it (`/held-out`), is deleted. Flushes."""
    name = version.model.name
    path = f"/admin/models/{name}/versions/{version.number}{part}"
    record(session, action, path, model=name, before={"deleted": False}, after={"deleted": True})


def _lock(session: Session, version: Version) -> None:
    """Lock a version's model and read the version again: another deletion may have been first."""
    lock_model(session, version.model_id)
    session.refresh(version)


def _forget_held_out(session: Session, version: Version) -> tuple[tuple[Place, str], ...]:
    kept = held_out_of(session, version)
    if kept is None or kept.deleted_at is not None:
        return ()
    kept.deleted_at, kept.deleted_by = present(session), actor_of(session)
    return ((Place.BLOB_STORE, kept.blob),)


def forget_history(session: Session, task_ids: Sequence[str]) -> tuple[int, bool]:
    """Delete the events and the logs of tasks.

    Returns how many events there were, and whether there was any log.
    """
    events, logs = (kind.task_id.in_(task_ids) for kind in (TaskEvent, TaskLog))
    told = session.scalar(select(func.count()).select_from(TaskEvent).where(events)) or 0
    logged = session.scalar(select(TaskLog.task_id).where(logs).limit(1)) is not None
    session.execute(delete(TaskEvent).where(events))
    session.execute(delete(TaskLog).where(logs))
    return told, logged


def _needed_by(session: Session, version: Version) -> list[str]:
    """Return why a version cannot go."""
    live = live_version(session, version.model_id)
    reasons = ["it is live"] if live is not None and live.id == version.id else []
    children = select(Version.number).where(
        Version.parent_id == version.id, Version.deleted_at.is_(None)
    )
    reasons += [
        f"version {number} was learned from it" for number in session.scalars(children).all()
    ]
    under_way = select(Task).where(
        Task.model_id == version.model_id,
        Task.state.not_in(END_STATES),
        or_(Task.parent_id == version.id, Task.parent_id.is_(None)),
    )
    reasons += [
        f"task {task.id}, which has not ended, starts from it"
        for task in session.scalars(under_way)
        if task.parent_id == version.id or task.spec.get("parent") == version.number
    ]
    return reasons
