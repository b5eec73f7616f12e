"""What tasks wait for: their turn in their model's queue, and a worker that may take them."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Task, TaskState
from app.db.base import JsonObject
from app.workers.needs import Needs
from app.workers.service import living


@dataclass(frozen=True)
class Wait:
    """What a task waits for.

    Attributes:
        place: in its model's queue, from 1; None: it left it just now.
        missing: which worker is missing, for it or for the task at the head of its queue; None:
            none is.
    """

    place: int | None
    missing: str | None


def waits(session: Session, tasks: Sequence[Task]) -> Mapping[str, Wait]:
    """Return, by their ids, what those of some tasks wait for that wait."""
    waiting = [task for task in tasks if task.state == TaskState.QUEUED]
    if not waiting:
        return {}
    queued, there = _queued(session, waiting), living(session)
    heads = _specs(session, waiting, {head for _, head in queued.values()})
    found = {}
    for task in waiting:
        place, head = queued.get(task.id, (None, task.id))
        missing = Needs.of(task.spec).unmet(there)
        if missing is None and head != task.id and head in heads:
            missing = Needs.of(heads[head]).unmet(there)
            missing = missing and f"{missing}, which the first task of its model needs"
        found[task.id] = Wait(place, missing)
    return found


def _queued(session: Session, waiting: Sequence[Task]) -> Mapping[str, tuple[int, str]]:
    """Return place and head of the queue: one for each model, as models wait for no other."""
    place = func.row_number().over(partition_by=Task.model_id, order_by=Task.sequence)
    head = func.first_value(Task.id).over(partition_by=Task.model_id, order_by=Task.sequence)
    models = {task.model_id for task in waiting}
    queued = select(Task.id, place.label("place"), head.label("head")).where(
        Task.state == TaskState.QUEUED, Task.model_id.in_(models)
    )
    rows = queued.subquery()
    asked = select(rows).where(rows.c.id.in_([task.id for task in waiting]))
    return {row.id: (row.place, row.head) for row in session.execute(asked)}


def _specs(session: Session, at_hand: Sequence[Task], wanted: Set[str]) -> Mapping[str, JsonObject]:
    """Return the specs of some tasks; those that are not at hand are asked for."""
    found: dict[str, JsonObject] = {task.id: task.spec for task in at_hand}
    others = wanted - found.keys()
    if others:
        rows = session.execute(select(Task.id, Task.spec).where(Task.id.in_(others)))
        found |= {row.id: row.spec for row in rows}
    return found
