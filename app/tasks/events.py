"""A task's events: read from the table, written as Server-Sent Events."""

import json
from collections.abc import Sequence

from fastapi.sse import format_sse_event
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.db import END_STATES, TaskEvent
from app.db.base import utc_text
from app.tasks.service import get_task


def events_after(session: Session, task_id: str, after: int) -> tuple[Sequence[TaskEvent], bool]:
    """Return a task's events with ids over `after`, and whether no more will come.

    Ids are given in the order of the commits, so none comes up later below one that was seen.

    Raises:
        NotFoundProblem: no such task.
    """
    # The state first: when it is an end, its event is there already.
    ended = get_task(session, task_id).state in END_STATES
    found = session.scalars(
        select(TaskEvent)
        .where(TaskEvent.task_id == task_id, TaskEvent.id > after)
        .order_by(TaskEvent.id)
    )
    return found.all(), ended


def story_after(session: Session, task_id: str, after: int) -> Sequence[TaskEvent]:
    """Return the events over `after` that tell somebody who comes late how a task got here.

    States, epochs and warnings, and of progress the last word alone.
    """
    of_task = TaskEvent.task_id == task_id
    last = select(func.max(TaskEvent.id)).where(of_task, TaskEvent.kind == "progress")
    told = or_(TaskEvent.kind != "progress", TaskEvent.id == last.scalar_subquery())
    found = session.scalars(
        select(TaskEvent).where(of_task, TaskEvent.id > after, told).order_by(TaskEvent.id)
    )
    return found.all()


def newest(session: Session, task_id: str) -> tuple[int, bool]:
    """Return the id of a task's last event, 0 if there is none, and whether no more will come.

    Raises:
        NotFoundProblem: no such task.
    """
    ended = get_task(session, task_id).state in END_STATES
    last = session.scalar(select(func.max(TaskEvent.id)).where(TaskEvent.task_id == task_id))
    return last or 0, ended


def encode(event: TaskEvent) -> bytes:
    """Return one event in the format of the HTML standard."""
    data = event.data | {"at": utc_text(event.at)}
    return format_sse_event(id=str(event.id), event=event.kind, data_str=json.dumps(data))
