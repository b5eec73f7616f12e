"""A task's events as Server-Sent Events."""

import json
import time
from collections.abc import AsyncIterator, Sequence

import anyio
from fastapi.sse import format_sse_event
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.db import END_STATES, TaskEvent, read_session
from app.tasks.service import get_task

POLL_SECONDS = 0.3
HEARTBEAT_SECONDS = 15.0


def events_after(session: Session, task_id: str, after: int) -> tuple[Sequence[TaskEvent], bool]:
    """Return a task's events with ids over `after`, and whether no more will come.

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


async def stream(engine: Engine, task_id: str, after: int) -> AsyncIterator[bytes]:
    """Yield a task's events as they come, and a comment now and then; ends with the task."""
    said = time.monotonic()
    while True:
        events, ended = await run_in_threadpool(_look, engine, task_id, after)
        for event in events:
            yield encode(event)
            after = event.id
        if ended:
            return
        if events:
            said = time.monotonic()
        elif time.monotonic() - said > HEARTBEAT_SECONDS:
            yield format_sse_event(comment="still here")
            said = time.monotonic()
        await anyio.sleep(POLL_SECONDS)


def encode(event: TaskEvent) -> bytes:
    """Return one event in the format of the HTML standard."""
    data = event.data | {"at": event.at.isoformat()}
    return format_sse_event(id=str(event.id), event=event.kind, data_str=json.dumps(data))


def _look(engine: Engine, task_id: str, after: int) -> tuple[Sequence[TaskEvent], bool]:
    with read_session(engine) as session:
        return events_after(session, task_id, after)
