"""How long a step would take, by the pace of those that this service has done."""

import statistics

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import DeviceKind, Task, TaskEvent, TaskKind, Version
from sats_core.settings import StepSettings

STEPS = 5
"""Steps whose pace is looked at."""
LOOKED_AT = 20
"""Steps that they are found among: what another device did tells nothing."""


def seconds_a_picture(
    session: Session, settings: StepSettings, base: bool, device: DeviceKind | None = None
) -> float | None:
    """Return the seconds a picture that a step like the last ones would take.

    Like it are base steps where it is one, else steps by its method, all on one kind of device. Of
    what goes over the pictures again and again, as many times as its epochs.

    Args:
        session: to read in.
        settings: of the step; its method and epochs are read.
        base: whether it is a base step, which learns in one way whatever its method.
        device: that it asks for; None: any, and then that of the newest step like it counts.

    Returns:
        None: no step like it was done.
    """
    done_on = Version.settings["device"].as_string()
    alike = (
        [Version.parent_id.is_(None)]
        if base
        else [
            Version.parent_id.is_not(None),
            Task.spec["method"].as_string() == settings.method,
        ]
    )
    if device is not None:
        alike.append(done_on == str(device))
    steps = session.execute(
        select(Version.seconds, Task.spec["epochs"].as_integer(), TaskEvent.data, done_on)
        .join(Task, Task.version_id == Version.id)
        .join(TaskEvent, TaskEvent.task_id == Task.id)
        .where(Task.kind == TaskKind.STEP, TaskEvent.kind == "labels", *alike)
        .order_by(Version.id.desc())
        .limit(LOOKED_AT)
    ).all()
    paces = [
        seconds / (data["pictures"] * passes(settings.method, epochs, base))
        for seconds, epochs, data, where in steps
        if data["pictures"] and where == steps[0][-1]
    ][:STEPS]
    again = passes(settings.method, settings.epochs, base)
    return statistics.median(paces) * again if paces else None


def passes(method: str, epochs: int | None, base: bool) -> int:
    """Return how often a step goes over its pictures.

    Args:
        method: how it learns.
        epochs: as its spec says; None: it says nothing.
        base: whether it is a base step.
    """
    once = method == "frozen" and not base
    return 1 if once else epochs or StepSettings.model_fields["epochs"].default
