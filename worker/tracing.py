"""A trace of every task that has ended, made of its events: whoever held it, and however often."""

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import Task, TaskState, read_session
from app.tasks.phases import phases
from app.telemetry import tracing
from app.telemetry.tracing import Spans

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
        phases(session, [task_id]).get(task_id, ()),
        posted_by=task.traceparent,
        error=str((task.error or {}).get("title", "failed")) if failed else None,
    )
