"""Tasks: posted, found, cancelled. What runs them is the worker."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import END_STATES, HeldOutSet, Task, TaskEvent, TaskState, Version, utc_now
from app.errors import (
    ConflictProblem,
    IdempotencyKeyReusedProblem,
    InvalidProblem,
    NotFoundProblem,
    ProblemError,
)
from app.models.service import ensure_model, find_model, live_version
from app.storage import Blob, BlobStore
from app.tasks.schemas import TaskJson, TaskSpec, task_json
from sats_core.data.readers import open_reader
from sats_core.data.sources import ZipSource
from sats_core.settings import Limits


@dataclass(frozen=True)
class Submission:
    """A task that somebody posts, its data set stored and its structure checked.

    Attributes:
        spec: what to learn and how.
        dataset: the stored zip.
        by: name of the caller's key.
        idempotency_key: as posted.
    """

    spec: TaskSpec
    dataset: Blob
    by: str
    idempotency_key: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of what was asked for: the same request gives the same."""
        asked = {"spec": self.spec.model_dump(mode="json"), "dataset": self.dataset.key}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def dataset_classes(path: Path, limits: Limits) -> tuple[str, ...]:
    """Check the structure of a zip, decoding no picture, and return the classes it labels.

    Raises:
        DatasetError: what is wrong with it.
    """
    with ZipSource(path, limits) as source:
        return open_reader(source).classes


def check_classes(spec: TaskSpec, labelled: Collection[str], known: Collection[str]) -> None:
    """Check that a task has something to learn that its data set labels.

    The worker checks again when the task starts: by then the model may know more.

    Args:
        spec: the task's spec.
        labelled: classes that its data set labels.
        known: classes of the model's live version.

    Raises:
        InvalidProblem: naming every class at fault.
    """
    if spec.classes is None:
        if set(labelled) <= set(known):
            raise InvalidProblem("the model knows every class of the data set already")
        return
    missing = [name for name in spec.classes if name not in labelled]
    again = [name for name in spec.classes if name in known]
    errors = [
        *(_class_error(name, "the data set does not label it") for name in missing),
        *(_class_error(name, "the model knows it already") for name in again),
    ]
    if errors:
        raise InvalidProblem("not every class of `spec.classes` can be learned", errors)


def _class_error(name: str, message: str) -> ProblemError:
    return ProblemError(message, field="spec.classes", class_name=name)


def known_classes(session: Session, model_name: str) -> tuple[str, ...]:
    """Return the classes of a model's live version; none if there is no such version."""
    model = find_model(session, model_name)
    live = live_version(session, model.id) if model else None
    return tuple(str(entry["name"]) for entry in live.classes) if live else ()


def find_replay(session: Session, submission: Submission) -> Task | None:
    """Return the task that this Idempotency-Key made before, if any.

    Raises:
        IdempotencyKeyReusedProblem: the key made a task of another request.
    """
    if submission.idempotency_key is None:
        return None
    before = session.scalar(
        select(Task).where(
            Task.submitted_by == submission.by,
            Task.idempotency_key == submission.idempotency_key,
        )
    )
    if before is not None and before.request_digest != submission.digest:
        raise IdempotencyKeyReusedProblem(
            f"this key made task {before.id} from another spec or data set",
            [ProblemError("used before", field="Idempotency-Key")],
        )
    return before


def submit(session: Session, submission: Submission) -> tuple[Task, bool]:
    """Queue a task; returns it and whether the same request had made it before. Flushes.

    Raises:
        IdempotencyKeyReusedProblem: the key made a task of another request.
    """
    before = find_replay(session, submission)
    if before is not None:
        return before, True
    try:
        with session.begin_nested():
            return _queue(session, submission), False
    except IntegrityError:
        # The same key came twice at once, and the other request was first.
        before = find_replay(session, submission)
        if before is None:
            raise
        return before, True


def _queue(session: Session, submission: Submission) -> Task:
    model = ensure_model(session, submission.spec.model)
    task = Task(
        model=model,
        state=TaskState.QUEUED,
        spec=submission.spec.model_dump(mode="json"),
        dataset=submission.dataset.key,
        dataset_bytes=submission.dataset.size,
        submitted_by=submission.by,
        idempotency_key=submission.idempotency_key,
        request_digest=submission.digest,
        warnings=[],
    )
    session.add(task)
    session.flush()
    _tell_state(session, task)
    return task


def get_task(session: Session, task_id: str) -> Task:
    """Return a task.

    Raises:
        NotFoundProblem: no such task.
    """
    task = session.get(Task, task_id)
    if task is None:
        raise NotFoundProblem(f"there is no task {task_id}")
    return task


def list_tasks(
    session: Session,
    *,
    limit: int,
    model: str | None = None,
    state: TaskState | None = None,
    before: str | None = None,
) -> Sequence[Task]:
    """Return tasks, the newest first; `before` is the id of the last one seen.

    Raises:
        NotFoundProblem: no task has the id `before`.
    """
    wanted = select(Task).order_by(Task.created_at.desc(), Task.id.desc()).limit(limit)
    if model is not None:
        wanted = wanted.where(Task.model.has(name=model))
    if state is not None:
        wanted = wanted.where(Task.state == state)
    if before is not None:
        last = get_task(session, before)
        wanted = wanted.where(tuple_(Task.created_at, Task.id) < (last.created_at, last.id))
    return session.scalars(wanted).all()


def cancel(session: Session, task_id: str) -> Task:
    """Cancel a task: at once if it waits, else its worker is told. Flushes.

    Raises:
        NotFoundProblem: no such task.
        ConflictProblem: it has ended.
    """
    # Locked, so that no worker takes it, and none ends it, between the look and the write.
    task = session.scalar(
        select(Task)
        .where(Task.id == task_id)
        .with_for_update(of=Task)
        .execution_options(populate_existing=True)
    )
    if task is None:
        raise NotFoundProblem(f"there is no task {task_id}")
    if task.state in END_STATES:
        raise ConflictProblem(f"the task has ended: it is {task.state}")
    task.cancel_requested = True
    if task.state == TaskState.QUEUED:
        task.state = TaskState.CANCELLED
        task.finished_at = utc_now()
        task.progress = None
        session.flush()
        _tell_state(session, task)
    session.flush()
    return task


def hold_dataset(session: Session, key: str) -> None:
    """Keep everybody else from adding or removing a user of this blob until the transaction ends.

    Who queues a task and who removes what no task needs would otherwise not see each other.
    (SQLite has one writer at a time in any case.)
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(int(key[:15], 16))))


def drop_dataset(session: Session, blobs: BlobStore, key: str) -> None:
    """Remove a posted data set, unless a task that has not ended reads it, or it is kept as it is.

    `session` writes; nobody can queue a task for the blob before its transaction ends.
    """
    hold_dataset(session, key)
    waiting = select(Task.id).where(Task.dataset == key, Task.state.not_in(END_STATES))
    kept = select(HeldOutSet.id).where(HeldOutSet.blob == key)
    if all(session.scalar(users.limit(1)) is None for users in (waiting, kept)):
        blobs.delete(key)


def describe(session: Session, tasks: Sequence[Task]) -> list[TaskJson]:
    """Return how tasks look over HTTP, with their version numbers and places in the queue."""
    made = [task.version_id for task in tasks if task.version_id is not None]
    rows = session.execute(select(Version.id, Version.number).where(Version.id.in_(made)))
    numbers = {row.id: row.number for row in rows}
    places = _queue_places(session) if any(t.state == TaskState.QUEUED for t in tasks) else {}
    return [task_json(task, numbers.get(task.version_id), places.get(task.id)) for task in tasks]


def _queue_places(session: Session) -> dict[str, int]:
    waiting = (
        select(Task.id).where(Task.state == TaskState.QUEUED).order_by(Task.created_at, Task.id)
    )
    return {task_id: place for place, task_id in enumerate(session.scalars(waiting), start=1)}


def _tell_state(session: Session, task: Task) -> None:
    session.add(TaskEvent(task_id=task.id, kind="state", data={"state": task.state}))
    session.flush()
