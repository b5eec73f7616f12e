"""A task's loss terms, read from its events."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import TaskEvent
from app.db.base import JsonObject


def epochs(session: Session, task_id: str) -> Sequence[JsonObject]:
    """Return the loss terms at each epoch's end; of one that came again, those of the last try."""
    told = session.scalars(
        select(TaskEvent.data)
        .where(TaskEvent.task_id == task_id, TaskEvent.kind == "epoch")
        .order_by(TaskEvent.id)
    )
    by_epoch = {data["epoch"]: data["losses"] for data in told if data.get("losses")}
    return [{"epoch": epoch, "losses": by_epoch[epoch]} for epoch in sorted(by_epoch)]
