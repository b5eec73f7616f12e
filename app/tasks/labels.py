"""What a task's labels look like, as its last try told it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import TaskEvent
from app.db.base import JsonObject


def labels_of(session: Session, task_id: str) -> JsonObject | None:
    """Return the stored `LabelReport` of a task; None: it told none."""
    told = (TaskEvent.task_id == task_id, TaskEvent.kind == "labels")
    last = select(TaskEvent.data).where(*told).order_by(TaskEvent.id.desc()).limit(1)
    return session.scalar(last)
