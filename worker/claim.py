"""Who may work on a task: claim, lease and fence. The row is the truth; a message is a wake-up.

    queued ── claim ──► running ── renew, enter, report, warn ──► running
       ▲                   │
       ├──── give_back ────┤   its worker stops: the try is not counted
       ├──── halve ────────┤   memory ran out: fewer at once, the try is not counted
       ├──── retry ────────┤   its training process was lost: the try counts
       ├──── sweep ────────┤   its worker was lost and the lease ran out: the try counts
       │                   │   (and none counts any more once an epoch is finished: `report`)
       │                   └──── end ──► live, held, failed, cancelled
       └──── worker.unmet ──► failed     no living worker may take it, for too long

Every arrow is one transaction and every write of it is an UPDATE that names the fence it was
claimed with. The fence grows whenever the row changes hands (claimed, given up, swept, ended), so
whoever claimed it before, however late it wakes up, changes nothing and is told so.

Functions flush nothing but their own statements and never commit: the caller's transaction does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import ScalarSelect

from app.db import (
    END_STATES,
    RUNNING_STATES,
    Task,
    TaskEvent,
    TaskKind,
    TaskState,
    database_now,
)
from app.db.base import JsonObject, database_time
from app.errors import Problem
from app.registry.parents import step_start
from app.registry.service import live_version, lock_model
from app.tasks.telling import tell
from app.webhooks.outbox import task_ended
from worker.turns import next_of_its_model


@dataclass(frozen=True)
class Claim:
    """The right to write one task's row, as long as its fence is this one."""

    task_id: str
    fence: int


class LeaseLostError(Exception):
    """Somebody else holds the task now; nothing was written."""


def claim(
    session: Session, which: str | ScalarSelect[str], worker: str, lease_seconds: float
) -> Claim | None:
    """Take a queued task, if it is the next of its model and no other step of it runs.

    `which` is its id, or the query that finds it in the same statement (`worker.turns`). Returns
    None where there is none, where another worker was first, where it is not this task's turn, or
    where it does not wait (any more).

    The parent version is fixed here, at the first claim, and stays when the task is resumed.
    Without one, `worker.preparing` judges whether the step may start from scratch.
    """
    take = (
        update(Task)
        .where(Task.id == which, Task.state == TaskState.QUEUED, next_of_its_model(Task))
        .values(
            state=TaskState.VALIDATING,
            fence=Task.fence + 1,
            tries=Task.tries + 1,
            worker=worker,
            lease_until=database_now() + lease_seconds,
            unmet_since=None,
            unmet_seen=None,
        )
        .returning(Task.id, Task.fence, Task.model_id, Task.started_at, Task.kind, Task.spec)
    )
    try:
        with session.begin_nested():
            row = session.execute(take).one_or_none()
    except IntegrityError:
        # Two tasks of one model were claimed in the same moment and neither saw the other; the
        # unique index on running tasks let one through, and it is not this one.
        return None
    if row is None:
        return None
    taken = Claim(row.id, row.fence)
    if row.started_at is None:
        lock_model(session, row.model_id)  # so that no deletion misses what the task starts from
        live = live_version(session, row.model_id)
        builds = row.kind in (TaskKind.STEP, TaskKind.RETIRE)
        named = row.spec.get("parent")
        start = step_start(session, row.id, row.model_id, named) if builds else None
        _write(
            session,
            taken,
            started_at=database_time(),
            parent_id=start.id if start else None,
            live_id=live.id if live else None,
        )
    tell(session, row.id, "state", {"state": TaskState.VALIDATING})
    return taken


def renew(session: Session, claim: Claim, lease_seconds: float) -> bool:
    """Hold the task for another `lease_seconds`; say whether somebody asked to cancel it.

    Raises:
        LeaseLostError: as every function below that takes a claim.
    """
    task = _write(session, claim, lease_until=database_now() + lease_seconds)
    return task.cancel_requested


def enter(session: Session, claim: Claim, state: TaskState) -> None:
    """Move a running task to another of the running states."""
    if state not in RUNNING_STATES:
        raise ValueError(f"{state} is not a running state")
    _write(session, claim, state=state)
    tell(session, claim.task_id, "state", {"state": state})


def report(session: Session, claim: Claim, progress: JsonObject, epoch_end: bool) -> None:
    """Write how far the step is; an epoch that no try finished before sets the tries to 0."""
    values: dict[str, Any] = {"progress": progress}
    if epoch_end and progress["epoch"] > _furthest(session, claim.task_id):
        values["tries"] = 0
    _write(session, claim, **values)
    tell(session, claim.task_id, "epoch" if epoch_end else "progress", progress)


def note_checkpoint(session: Session, claim: Claim, key: str) -> str | None:
    """Say which blob holds the task's last checkpoint; returns which one did before."""
    _write(session, claim)  # locks the row
    before = session.scalar(select(Task.checkpoint).where(Task.id == claim.task_id))
    _write(session, claim, checkpoint=key)
    return before


def warn(session: Session, claim: Claim, message: str) -> None:
    """Add a warning; one that a try before this one gave already is not given again."""
    task = _write(session, claim)
    if message not in task.warnings:
        _write(session, claim, warnings=[*task.warnings, message])
        tell(session, claim.task_id, "warning", {"message": message})


def hold(session: Session, claim: Claim) -> bool:
    """Lock the row until the transaction ends; say whether somebody asked to cancel the task."""
    return _write(session, claim).cancel_requested


def give_back(session: Session, claim: Claim) -> TaskState:
    """Put the task back in the queue because the worker stops; the try is not counted."""
    task = _write(session, claim)
    if task.cancel_requested:
        return end(session, claim, TaskState.CANCELLED)
    return _queue(session, claim, tries=max(task.tries - 1, 0))


def halve(session: Session, claim: Claim, warning: str) -> TaskState:
    """Put the task back in the queue, to compute half as much at once; the try is not counted."""
    warn(session, claim, warning)
    _write(session, claim, halvings=Task.halvings + 1)
    return give_back(session, claim)


def retry(session: Session, claim: Claim, max_tries: int, problem: Problem) -> TaskState:
    """Put the task back in the queue because a try was lost.

    After `max_tries` starts without a finished epoch it fails with `problem`.
    """
    task = _write(session, claim)
    if task.cancel_requested:
        return end(session, claim, TaskState.CANCELLED)
    if task.tries >= max_tries:
        tried = f"started {task.tries} times without getting further. "
        error = {**problem.body(), "detail": tried + problem.detail}
        return end(session, claim, TaskState.FAILED, error=error)
    return _queue(session, claim, tries=task.tries)


def end(
    session: Session,
    claim: Claim,
    state: TaskState,
    *,
    error: JsonObject | None = None,
    version: tuple[int, int] | None = None,
) -> TaskState:
    """End the task.

    Args:
        session: the transaction.
        claim: the task.
        state: one of the end states.
        error: the problem, for a failed task.
        version: row id and number of the version that was registered, if any.
    """
    if state not in END_STATES:
        raise ValueError(f"{state} is not an end state")
    ended: JsonObject = {"state": state}
    values: dict[str, Any] = {"state": state, "finished_at": database_time(), "error": error}
    if error is not None:
        ended["error"] = error
    if version is not None:
        values["version_id"], ended["version"] = version
    _release(session, claim, **values)
    tell(session, claim.task_id, "state", ended)
    session.execute(
        delete(TaskEvent).where(TaskEvent.task_id == claim.task_id, TaskEvent.kind == "progress")
    )
    task_ended(session, claim.task_id, state, version[1] if version else None, error)
    return state


def sweep(session: Session, task_id: str, max_tries: int, problem: Problem) -> TaskState | None:
    """Take a task away from a worker that let its lease run out; return the state it is in now.

    After `max_tries` starts without a finished epoch it fails with `problem`. Returns None if the
    lease holds after all, or somebody else was faster.
    """
    take = update(Task).where(Task.id == task_id, _lapsed()).values(fence=Task.fence + 1)
    fence = session.scalar(take.returning(Task.fence))
    if fence is None:
        return None
    return retry(session, Claim(task_id, fence), max_tries, problem)


def lapsed(session: Session) -> Sequence[str]:
    """Return the ids of the running tasks that nobody renews."""
    return session.scalars(select(Task.id).where(_lapsed())).all()


@dataclass(frozen=True)
class _Locked:
    cancel_requested: bool
    tries: int
    warnings: list[str]


def _write(session: Session, claim: Claim, **values: Any) -> _Locked:
    """Write to the row if the claim still stands, and read it under the lock this takes.

    Without values the row is only locked and read.
    """
    fenced = (
        update(Task)
        .where(Task.id == claim.task_id, Task.fence == claim.fence)
        .values(values or {"fence": Task.fence})
        .returning(Task.cancel_requested, Task.tries, Task.warnings)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(fenced).one_or_none()
    if row is None:
        raise LeaseLostError(f"task {claim.task_id} is not under fence {claim.fence} any more")
    return _Locked(row.cancel_requested, row.tries, row.warnings)


def _release(session: Session, claim: Claim, **values: Any) -> None:
    _write(session, claim, fence=Task.fence + 1, lease_until=None, worker=None, **values)


def _queue(session: Session, claim: Claim, tries: int) -> TaskState:
    _release(session, claim, state=TaskState.QUEUED, tries=tries, progress=None)
    tell(session, claim.task_id, "state", {"state": TaskState.QUEUED})
    return TaskState.QUEUED


def _furthest(session: Session, task_id: str) -> int:
    """Return how many epochs any try has finished: one that repeats them makes no progress."""
    epochs = func.max(TaskEvent.data["epoch"].as_integer())
    told = (TaskEvent.task_id == task_id, TaskEvent.kind == "epoch")
    return session.scalar(select(epochs).where(*told)) or 0


def _lapsed() -> ColumnElement[bool]:
    return and_(Task.state.in_(RUNNING_STATES), Task.lease_until < database_now())
