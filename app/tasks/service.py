"""Tasks: posted, found, cancelled, tried again. What runs them is the worker."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Engine, or_, select, true
from sqlalchemy.orm import Session

from app.audit.actor import actor_of
from app.audit.service import Action, record
from app.db import (
    END_STATES,
    Task,
    TaskLog,
    TaskState,
    Version,
    present,
    read_session,
)
from app.db.base import JsonObject, utc_text
from app.errors import ErrorDetail, InvalidProblem, NotFoundProblem
from app.errors.codes import Code
from app.keys.quotas import check_quotas
from app.registry.parents import ParentDeletedProblem, check_start, may_be_base, would_be_base
from app.registry.retired import retired_names
from app.registry.service import lock_model
from app.storage import BlobStore
from app.tasks.classes import check_classes, class_names
from app.tasks.describing import listed_task, task_json
from app.tasks.labels import labels_of
from app.tasks.problems import TaskEndedProblem, TaskFilesGoneProblem, TaskNotFailedProblem
from app.tasks.schemas import ListedTask, TaskJson, TaskSpec
from app.tasks.states import standing
from app.tasks.telling import tell
from app.tasks.waiting import waits
from app.uploads.datasets import posted_classes
from app.webhooks.outbox import task_ended
from sats_core.data.sources import Archive
from sats_core.settings import Limits

EVERY_TASK: ColumnElement[bool] = true()


def check_step(engine: Engine, spec: TaskSpec, dataset: Archive, limits: Limits) -> None:
    """Check what can be known of a step when it is posted.

    Holds no connection while it reads the data set.

    Raises:
        DatasetError: the data set's structure is wrong.
        InvalidProblem: naming every class at fault, the parent that there is not, or the preview
            of a base step.
        NothingToStartFromProblem: every version of the model is held.
    """
    with read_session(engine) as session:
        start = check_start(session, spec.model, spec.parent)
        if spec.preview and start is None and would_be_base(session, spec.model):
            message = (
                f"this is the first task of model {spec.model!r}: a preview needs an old version"
            )
            raise InvalidProblem(
                message, [ErrorDetail(message, field="spec.preview", code=Code.FORBIDDEN)]
            )
        retired = retired_names(session, start) if start else ()
    check_classes(spec, posted_classes(dataset, limits), class_names(start), retired)


def get_task(session: Session, task_id: str, visible: ColumnElement[bool] = EVERY_TASK) -> Task:
    """Return a task, if it is one of those that are visible.

    Raises:
        NotFoundProblem: no such task.
    """
    task = session.scalar(select(Task).where(Task.id == task_id, visible))
    if task is None:
        raise NotFoundProblem(f"there is no task {task_id}")
    return task


def read_log(session: Session, task_id: str) -> str:
    """Return the last lines that a task's training process wrote; none if it never started.

    Raises:
        NotFoundProblem: no such task.
    """
    return log_of(session, get_task(session, task_id))


def log_of(session: Session, task: Task) -> str:
    """Return the last lines that a task's training process wrote; none if it never started."""
    kept = session.get(TaskLog, task.id)
    return kept.text if kept else ""


def cancel(session: Session, task_id: str) -> Task:
    """Cancel a task, and its preview if that has not ended. Flushes.

    A task that waits is cancelled at once; the worker of one that runs is told.

    Raises:
        NotFoundProblem: no such task.
        TaskEndedProblem: it has ended.
    """
    task, preview = lock_task(session, task_id)
    if task.state in END_STATES:
        raise TaskEndedProblem(f"the task has ended: {standing(task.state).state}")
    _stop(session, task)
    if preview is not None:
        _stop(session, preview)
    session.flush()
    return task


def lock_task(session: Session, task_id: str) -> tuple[Task, Task | None]:
    """Lock a task and its preview, if it has one; returns both as they are now.

    No worker takes them, and none ends them, between the look and the write. Rows of tasks are
    locked in their queue's order.

    Raises:
        NotFoundProblem: no such task.
    """
    found = session.scalars(
        select(Task)
        .where(or_(Task.id == task_id, Task.preview_of == task_id))
        .order_by(Task.sequence)
        .with_for_update(of=Task)
        .execution_options(populate_existing=True)
    ).all()
    by_id = {task.id: task for task in found}
    task = by_id.pop(task_id, None)
    if task is None:
        raise NotFoundProblem(f"there is no task {task_id}")
    return task, next(iter(by_id.values()), None)


def _stop(session: Session, task: Task) -> None:
    if task.state in END_STATES:
        return
    before = task.state
    if not task.cancel_requested:
        task.cancelled_by = actor_of(session)
    task.cancel_requested = True
    if task.state == TaskState.QUEUED:
        task.finished_at = present(session)
        task.state = TaskState.CANCELLED
        task.progress = None
        tell(session, task.id, "state", {"state": task.state})
        task_ended(session, task.id, TaskState.CANCELLED, None)
    record_task(session, Action.TASK_CANCEL, task, before)


def record_task(session: Session, action: Action, task: Task, before: TaskState | None) -> None:
    """Write down what was done to a task; `before` is its state until then. Flushes."""
    after: JsonObject = {"name": task.called, **standing(task.state).said()}
    if task.cancel_requested:
        after["cancel_requested"] = True
    record(
        session,
        action,
        f"/tasks/{task.id}",
        model=task.model.name,
        before=None if before is None else standing(before).said(),
        after=after,
    )


def retry(session: Session, blobs: BlobStore, task_id: str) -> Task:
    """Queue a failed task again, to go on from its last checkpoint. Flushes.

    It starts from the version that it started from before, with the batch that was posted: memory
    may have been added. One that had none to start from looks again when its turn comes.

    Raises:
        NotFoundProblem: no such task.
        TaskNotFailedProblem: it has not failed.
        TaskFilesGoneProblem: what was posted with it was removed.
        ParentDeletedProblem: what it started from was deleted.
        TaskLimitProblem: as many tasks of its key wait as may.
    """
    # Before the row is locked: a store may be silent. What is there now stays until it is tidied.
    lost = _files_lost(blobs, get_task(session, task_id))
    task, _ = lock_task(session, task_id)
    if task.state != TaskState.FAILED:
        raise TaskNotFailedProblem(
            f"only a failed task can be tried again: this one is {standing(task.state).state}"
        )
    _check_files(task, lost)
    check_quotas(session, task.key_id, more_bytes=0)
    # Task, key, model, as everywhere. A deletion of what it starts from sees it wait, or is seen.
    model = lock_model(session, task.model_id)
    _check_parent(session, task)
    if task.parent_id is None:
        task.may_be_base = task.may_be_base or may_be_base(session, model.id)
        task.started_at = None
    task.state = TaskState.QUEUED
    task.tries = task.halvings = 0
    task.cancel_requested, task.cancelled_by = False, None
    task.error = task.progress = task.finished_at = None
    task.unmet_since = task.unmet_seen = None
    tell(session, task.id, "state", {"state": task.state})
    record_task(session, Action.TASK_RETRY, task, TaskState.FAILED)
    return task


def _check_parent(session: Session, task: Task) -> None:
    if task.parent_id is None:
        return
    parent = session.get_one(Version, task.parent_id, populate_existing=True)
    if parent.deleted_at is not None:
        raise ParentDeletedProblem(
            f"version {parent.number}, which the task started from, was deleted: post it again"
        )


def _files_lost(blobs: BlobStore, task: Task) -> bool:
    if task.state != TaskState.FAILED or task.tidied_at is not None:
        return False
    return not all(blobs.is_there(key) for key in task.uploads)


def _check_files(task: Task, lost: bool) -> None:
    if task.tidied_at is not None:
        raise TaskFilesGoneProblem(
            f"the task's files were removed at {utc_text(task.tidied_at.replace(microsecond=0))}: "
            "post it again"
        )
    if lost:
        raise TaskFilesGoneProblem("the files posted with the task are gone: post it again")


def describe(session: Session, task: Task) -> TaskJson:
    """Return how a task looks over HTTP."""
    (listed,) = describe_listed(session, [task])
    return task_json(listed, labels_of(session, task.id))


def describe_listed(session: Session, tasks: Sequence[Task]) -> list[ListedTask]:
    """Return how tasks look in a list, with version numbers, previews and what they wait for."""
    numbers = _numbers(session, [task.version_id for task in tasks if task.version_id is not None])
    waiting = waits(session, tasks)
    previews = _previews(session, [task.id for task in tasks])
    return [
        listed_task(task, numbers.get(task.version_id), waiting.get(task.id), previews.get(task.id))
        for task in tasks
    ]


def _numbers(session: Session, version_ids: Sequence[int]) -> dict[int | None, int]:
    if not version_ids:
        return {}
    rows = session.execute(select(Version.id, Version.number).where(Version.id.in_(version_ids)))
    return {row.id: row.number for row in rows}


def _previews(session: Session, task_ids: Sequence[str]) -> dict[str | None, str]:
    rows = session.execute(select(Task.preview_of, Task.id).where(Task.preview_of.in_(task_ids)))
    return {row.preview_of: row.id for row in rows}
