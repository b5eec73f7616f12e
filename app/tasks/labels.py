"""What tasks' labels look like, as their last tries told it."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import TaskEvent
from app.db.base import JsonObject


def labels_of(session: Session, task_ids: Sequence[str]) -> dict[str, JsonObject]:
    """Return the stored `LabelReport` of each task that has one, at the cost of one query."""
    told = (TaskEvent.task_id.in_(task_ids), TaskEvent.kind == "labels")
    last = select(func.max(TaskEvent.id)).where(*told).group_by(TaskEvent.task_id)
    rows = session.execute(select(TaskEvent.task_id, TaskEvent.data).where(TaskEvent.id.in_(last)))
    return {row.task_id: row.data for row in rows}
