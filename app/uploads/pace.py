"""How long a step would take, by the pace of those that this service has done."""

import statistics

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Task, TaskEvent, TaskKind, Version
from sats_core.settings import StepSettings

STEPS = 5
"""Steps whose pace is looked at."""


def seconds_a_picture(session: Session, settings: StepSettings) -> float | None:
    """Return the seconds a picture that a step like the last ones by its method would take.

    Of a method that goes over the pictures again and again, as many times as its epochs. A base
    step is none of them.

    Args:
        session: to read in.
        settings: of the step; its method and epochs are read.

    Returns:
        None: no step by this method was done.
    """
    steps = session.execute(
        select(Version.seconds, Task.spec["epochs"].as_integer(), TaskEvent.data)
        .join(Task, Task.version_id == Version.id)
        .join(TaskEvent, TaskEvent.task_id == Task.id)
        .where(
            Task.kind == TaskKind.STEP,
            Task.spec["method"].as_string() == settings.method,
            Version.parent_id.is_not(None),
            TaskEvent.kind == "labels",
        )
        .order_by(Version.id.desc())
        .limit(STEPS)
    )
    paces = [
        seconds / (data["pictures"] * passes(settings.method, epochs))
        for seconds, epochs, data in steps
        if data["pictures"]
    ]
    return statistics.median(paces) * passes(settings.method, settings.epochs) if paces else None


def passes(method: str, epochs: int | None) -> int:
    """Return how often a step after a base step goes over its pictures.

    Args:
        method: how it learns.
        epochs: as its spec says; None: it says nothing.
    """
    return 1 if method == "frozen" else epochs or StepSettings.model_fields["epochs"].default
