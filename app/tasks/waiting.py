"""What tasks wait for: their turn in their model's queue, and a worker that may take them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Task, TaskState
from app.workers.needs import Needs
from app.workers.service import living


@dataclass(frozen=True)
class Wait:
    """What a task waits for.

    Attributes:
        place: in its model's queue, from 1; None: it left it just now.
        missing: which worker is missing; None: none is.
    """

    place: int | None
    missing: str | None


def waits(session: Session, tasks: Sequence[Task]) -> Mapping[str, Wait]:
    """Return, by their ids, what those of some tasks wait for that wait."""
    waiting = [task for task in tasks if task.state == TaskState.QUEUED]
    if not waiting:
        return {}
    places, there = _places(session, waiting), living(session)
    return {
        task.id: Wait(places.get(task.id), Needs.of(task.spec).unmet(there)) for task in waiting
    }


def _places(session: Session, waiting: Sequence[Task]) -> Mapping[str, int]:
    """Return places counted in each model: models wait for no other."""
    place = func.row_number().over(partition_by=Task.model_id, order_by=Task.sequence)
    models = {task.model_id for task in waiting}
    queued = select(Task.id, place.label("place")).where(
        Task.state == TaskState.QUEUED, Task.model_id.in_(models)
    )
    queue = queued.subquery()
    rows = session.execute(select(queue).where(queue.c.id.in_([task.id for task in waiting])))
    return {row.id: row.place for row in rows}
