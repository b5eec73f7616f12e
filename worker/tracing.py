"""A trace of every task that has ended, made of its events: whoever held it, and however often."""

from itertools import groupby, pairwise

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import tracing
from app.db import Task, TaskEvent, TaskState, read_session
from app.tracing import Phase, Spans

log = structlog.get_logger(__name__)


def trace_task(engine: Engine, task_id: str) -> None:
    """Trace a task that has ended, if anything is traced; a database that fails costs the trace."""
    spans = tracing.current()
    if spans is None:
        return
    try:
        with read_session(engine) as session:
            _trace(session, spans, task_id)
    except SQLAlchemyError as error:
        log.warning("task_not_traced", task=task_id, error=str(error))


def _trace(session: Session, spans: Spans, task_id: str) -> None:
    task = session.get_one(Task, task_id)
    failed = task.state == TaskState.FAILED
    spans.task(
        {
            "sats.task.id": task.id,
            "sats.task.kind": task.kind,
            "sats.task.state": task.state,
            "sats.model": task.model.name,
        },
        _phases(session, task_id),
        posted_by=task.traceparent,
        error=str((task.error or {}).get("title", "failed")) if failed else None,
    )


def _phases(session: Session, task_id: str) -> list[Phase]:
    entered = session.execute(
        select(TaskEvent.at, TaskEvent.data)
        .where(TaskEvent.task_id == task_id, TaskEvent.kind == "state")
        .order_by(TaskEvent.id)
    )
    # A child says again what its worker has said: of what follows itself the first one counts.
    firsts = [next(same) for _, same in groupby(entered, lambda row: row.data["state"])]
    return [
        Phase(row.data["state"], row.at, after.at)
        for row, after in pairwise(firsts)
        if after.at >= row.at  # clocks of two machines may differ
    ]
