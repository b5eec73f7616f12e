"""Workers as their rows tell of them. Web-free."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, or_, select
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.selectable import ScalarSelect

from app.db import RUNNING_STATES, DeviceKind, Model, Task, Worker, database_now, present
from app.db.base import database_time
from app.workers.needs import Resources

KEPT_SECONDS = 24 * 3600.0
"""So long the row of a worker that was lost stays."""


@dataclass(frozen=True)
class RunningTask:
    """The task that a worker holds."""

    id: str
    name: str
    model: str


@dataclass(frozen=True)
class SeenWorker:
    """A worker's row, and what it does."""

    worker: Worker
    alive: bool
    task: RunningTask | None


def list_workers(session: Session, limit: int, before: int | None = None) -> Sequence[SeenWorker]:
    """Return workers, the one that came last first; `before` is the id of the last one seen."""
    name = Task.called.label("task_name")
    found = (
        select(Worker, Task.id, name, Model.name, alive().label("alive"))
        .select_from(Worker)
        .outerjoin(Task, Task.id == _latest())
        .outerjoin(Model, Model.id == Task.model_id)
    )
    if before is not None:
        found = found.where(Worker.id < before)
    rows = session.execute(found.order_by(Worker.id.desc()).limit(limit))
    return [
        SeenWorker(worker, bool(is_alive), RunningTask(task, named or "", model) if task else None)
        for worker, task, named, model, is_alive in rows
    ]


def there(session: Session, limit: int) -> Sequence[Worker]:
    """Return the workers that are alive, the one that came last first."""
    found = select(Worker).where(alive()).order_by(Worker.id.desc()).limit(limit)
    return session.scalars(found).all()


def living(session: Session) -> frozenset[Resources]:
    """Return what the workers have that are alive."""
    found = select(Worker.device, Worker.memory_mib).where(alive()).distinct()
    return frozenset(
        Resources(DeviceKind(row.device), row.memory_mib) for row in session.execute(found)
    )


def idle(session: Session) -> Sequence[str]:
    """Return the names of the workers that are alive and hold no task."""
    held = select(Task.id).where(_holds()).exists()
    return sorted(session.scalars(select(Worker.name).where(alive(), ~held)))


def forget_lost(session: Session) -> None:
    """Delete the rows of workers that were lost long ago, or before the clock went back by a day.

    One that lives makes its row anew at its next beat.
    """
    long_ago = Worker.alive_until < database_now() - KEPT_SECONDS
    to_come = Worker.seen_at > present(session) + timedelta(seconds=KEPT_SECONDS)
    session.execute(delete(Worker).where(or_(long_ago, to_come)))


def alive() -> ColumnElement[bool]:
    """Whether a worker said in time that it is there.

    One that said so at a time that is still to come said it before the clock went back: who is
    there says it again soon.
    """
    return and_(Worker.alive_until > database_now(), Worker.seen_at <= database_time())


def _latest() -> ScalarSelect[str]:
    """Return a query for the task that a worker took last of those that it holds.

    There are several where it lost the lease of one that nobody has taken back yet.
    """
    held = aliased(Task)
    found = select(held.id).where(held.state.in_(RUNNING_STATES), held.worker == Worker.name)
    last = found.order_by(held.lease_until.desc(), held.id).limit(1)
    return last.correlate(Worker).scalar_subquery()


def _holds() -> ColumnElement[bool]:
    return and_(Task.state.in_(RUNNING_STATES), Task.worker == Worker.name)
