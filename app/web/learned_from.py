"""What a version was learned from: the data set of the task that made it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Task, TaskEvent, TaskKind, Version


@dataclass(frozen=True)
class DataSet:
    """A zip of labelled pictures.

    Attributes:
        task: what people call the task that brought it.
        sha256: of its bytes, hex.
        bytes: how many it has.
        pictures: that were trained on; None: not known any more.
        classes: that the task asked for; None: all that the model did not know.
    """

    task: str
    sha256: str
    bytes: int
    pictures: int | None
    classes: Sequence[str] | None


def data_set_of(session: Session, version: Version) -> DataSet | None:
    """Return what a version was learned from, in one statement; None: no step made it."""
    labels = (
        select(TaskEvent.data)
        .where(TaskEvent.task_id == Task.id, TaskEvent.kind == "labels")
        .order_by(TaskEvent.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    made = select(
        Task.called.label("called"),
        Task.spec,
        Task.dataset,
        Task.dataset_bytes,
        labels.label("labels"),
    ).where(Task.id == version.task_id, Task.kind == TaskKind.STEP)
    row = session.execute(made).one_or_none()
    if row is None:
        return None
    return DataSet(
        task=row.called,
        sha256=row.dataset,
        bytes=row.dataset_bytes,
        pictures=row.labels.get("pictures") if row.labels else None,
        classes=row.spec.get("classes"),
    )
