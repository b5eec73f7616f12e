"""Every task is in a state that it can leave, or has ended."""

from collections.abc import Sequence

from sqlalchemy import select

from app.db import RUNNING_STATES, Task, TaskState
from app.doctor.finding import Check, Finding, Installation
from app.doctor.mending import mend_task


def find_unknown_states(installation: Installation) -> Sequence[Finding]:
    """Return the tasks in a state that there is not: no worker and no sweep looks for them."""
    with installation.snapshot() as session:
        rows = session.execute(select(Task.id, Task.state).where(Task.state.not_in(TaskState)))
        return [
            Finding("task-state-unknown", f"there is no state {row.state!r}", f"task {row.id}")
            for row in rows
        ]


def find_stuck(installation: Installation) -> Sequence[Finding]:
    """Return the running tasks without a lease: a lease that is not there never runs out."""
    with installation.snapshot() as session:
        rows = session.execute(select(Task.id, Task.state).where(*_STUCK))
        return [
            Finding(
                "task-stuck",
                f"it is {row.state} and has no lease, so that no sweep takes it from its worker",
                f"task {row.id}",
                repairable=True,
            )
            for row in rows
        ]


def let_lapse(installation: Installation, finding: Finding) -> None:
    """Give the task a lease that has run out: the next sweep queues it, and its fence moves on."""
    mend_task(installation, finding, *_STUCK, lease_until=0.0)


_STUCK = (Task.state.in_(RUNNING_STATES), Task.lease_until.is_(None))

CHECKS = (Check(find_unknown_states), Check(find_stuck, let_lapse))
