"""Events: read from the table, put into their envelope, written as Server-Sent Events."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fastapi.sse import format_sse_event
from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from app.db import END_STATES, Model, Task, TaskEvent
from app.keys.service import Caller
from app.tasks.event_schemas import (
    EVENT_TYPES,
    EventType,
    TaskEventJson,
    stored_kinds,
    told_event,
)
from app.tasks.service import get_task
from app.tasks.visibility import sees, visible

BATCH = 500
"""How many events are read at once."""


@dataclass(frozen=True)
class WantedEvents:
    """Which events are asked for; None and empty: any.

    Attributes:
        caller: who asks, and sees the events of some tasks alone; None: may see all.
        task: id of the task.
        model: name of the model.
        types: any of these.
    """

    caller: Caller | None = None
    task: str | None = None
    model: str | None = None
    types: Sequence[EventType] = ()

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return them as the database checks them."""
        found: list[ColumnElement[bool]] = []
        if self.caller is not None:
            found.append(visible(self.caller))
        if self.task is not None:
            found.append(TaskEvent.task_id == self.task)
        if self.model is not None:
            found.append(Model.name == self.model)
        if self.types:
            found.append(TaskEvent.kind.in_(stored_kinds(self.types)))
        return found

    def has(self, told: "Told") -> bool:
        """Return whether an event is among them."""
        return (
            (self.caller is None or sees(self.caller, told.key_id, told.event.model))
            and self.task in (None, told.event.task)
            and self.model in (None, told.event.model)
            and (not self.types or told.event.type in self.types)
        )


@dataclass(frozen=True)
class Told:
    """An event as it goes out.

    Attributes:
        number: its id.
        key_id: the key that posted its task; None: nobody's.
        event: the event in its envelope.
    """

    number: int
    key_id: int | None
    event: TaskEventJson

    @cached_property
    def sse(self) -> bytes:
        """The event in the format of the HTML standard."""
        data = self.event.model_dump_json()
        return format_sse_event(id=self.event.id, event=self.event.type, data_str=data)


def events_after(session: Session, task_id: str | None, after: int) -> tuple[Sequence[Told], bool]:
    """Return events with ids over `after`, `BATCH` at most, and whether no more will come.

    Ids are given in the order of the commits, so none comes up later below one that was seen.

    Args:
        session: where to read.
        task_id: whose events; None: every task's, which never end.
        after: id of the last event that was seen.

    Raises:
        NotFoundProblem: no such task.
    """
    # The state first: when it is an end, its event is there already.
    ended = _has_ended(session, task_id)
    found = page_after(session, WantedEvents(task=task_id), after, BATCH)
    return found, ended and len(found) < BATCH


def page_after(session: Session, which: WantedEvents, after: int, limit: int) -> Sequence[Told]:
    """Return the first `limit` of the events with ids over `after`, the oldest first."""
    found = _events().where(TaskEvent.id > after, *which.conditions()).limit(limit)
    return [_told(*row) for row in session.execute(found)]


def story_after(session: Session, task_id: str, after: int) -> Sequence[Told]:
    """Return the events over `after` that tell somebody who comes late how a task got here.

    States, epochs and warnings, and of progress the last word alone.
    """
    of_task = TaskEvent.task_id == task_id
    last = select(func.max(TaskEvent.id)).where(of_task, TaskEvent.kind == "progress")
    told = or_(TaskEvent.kind != "progress", TaskEvent.id == last.scalar_subquery())
    found = session.execute(_events().where(of_task, TaskEvent.id > after, told))
    return [_told(*row) for row in found]


def newest(session: Session, task_id: str | None) -> tuple[int, bool]:
    """Return the id of the last event, 0 if there is none, and whether no more will come.

    Args:
        session: where to read.
        task_id: whose events; None: every task's.

    Raises:
        NotFoundProblem: no such task.
    """
    ended = _has_ended(session, task_id)
    last = select(func.max(TaskEvent.id))
    if task_id is not None:
        last = last.where(TaskEvent.task_id == task_id)
    return session.scalar(last) or 0, ended


def _has_ended(session: Session, task_id: str | None) -> bool:
    return task_id is not None and get_task(session, task_id).state in END_STATES


def _events() -> Select[TaskEvent, str, int | None]:
    return (
        select(TaskEvent, Model.name, Task.key_id)
        .join(Task, Task.id == TaskEvent.task_id)
        .join(Model, Model.id == Task.model_id)
        # A newer worker may write kinds that are not known here.
        .where(TaskEvent.kind.in_(EVENT_TYPES))
        .order_by(TaskEvent.id)
    )


def _told(row: TaskEvent, model: str, key_id: int | None) -> Told:
    return Told(row.id, key_id, told_event(row, model))
