"""Workers as their rows tell of them. Web-free."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.orm import Session

from app.db import RUNNING_STATES, DeviceKind, Model, Task, Worker, database_now
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
    name = Task.spec["name"].as_string().label("task_name")
    found = (
        select(Worker, Task.id, name, Model.name, alive().label("alive"))
        .outerjoin(Task, _holds())
        .outerjoin(Model, Model.id == Task.model_id)
    )
    if before is not None:
        found = found.where(Worker.id < before)
    rows = session.execute(found.order_by(Worker.id.desc()).limit(limit))
    return [
        SeenWorker(worker, bool(is_alive), RunningTask(task, named or "", model) if task else None)
        for worker, task, named, model, is_alive in rows
    ]


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
    """Delete the rows of workers that were lost long ago."""
    session.execute(delete(Worker).where(Worker.alive_until < database_now() - KEPT_SECONDS))


def alive() -> ColumnElement[bool]:
    """Whether a worker said in time that it is there."""
    return Worker.alive_until > database_now()


def _holds() -> ColumnElement[bool]:
    return and_(Task.state.in_(RUNNING_STATES), Task.worker == Worker.name)
