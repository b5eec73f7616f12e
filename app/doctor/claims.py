"""No task is claimed by two workers, and none that nobody works on is claimed at all."""

from collections.abc import Sequence

from sqlalchemy import func, or_, select

from app.db import END_STATES, RUNNING_STATES, Model, Task, TaskState, database_now
from app.doctor.finding import Check, Finding, Installation
from app.doctor.mending import mend_task


def find_steps_at_once(installation: Installation) -> Sequence[Finding]:
    """Return the models of which two steps run: an index forbids it, if it is whole."""
    twice = (
        select(Model.name, func.count())
        .join(Task, Task.model_id == Model.id)
        .where(Task.state.in_(RUNNING_STATES))
        .group_by(Model.name)
        .having(func.count() > 1)
    )
    with installation.snapshot() as session:
        return [
            Finding("steps-at-once", f"{count} of its tasks run at once", f"model {name!r}")
            for name, count in session.execute(twice)
        ]


def find_workers_with_two(installation: Installation) -> Sequence[Finding]:
    """Return the workers that hold two leases that both stand: a worker runs one task."""
    twice = (
        select(Task.worker, func.count())
        .where(Task.worker.is_not(None), Task.lease_until >= database_now())
        .group_by(Task.worker)
        .having(func.count() > 1)
    )
    with installation.snapshot() as session:
        return [
            Finding("worker-holds-two", f"it holds {count} tasks at once", f"worker {name}")
            for name, count in session.execute(twice)
        ]


def find_left_claims(installation: Installation) -> Sequence[Finding]:
    """Return the tasks that nobody works on and that a worker's claim still stands on."""
    with installation.snapshot() as session:
        rows = session.execute(select(Task.id, Task.state, Task.worker).where(*_LEFT))
        return [
            Finding(
                "claim-left",
                f"it is {row.state}, and worker {row.worker} holds it still",
                f"task {row.id}",
                repairable=True,
            )
            for row in rows
        ]


def release(installation: Installation, finding: Finding) -> None:
    """Take the claim away; whoever made it writes no more."""
    mend_task(installation, finding, *_LEFT, fence=Task.fence + 1, worker=None, lease_until=None)


_LEFT = (
    # Not of a state that is not known here: a worker of a newer release may be at it.
    Task.state.in_((TaskState.QUEUED, *END_STATES)),
    or_(Task.worker.is_not(None), Task.lease_until.is_not(None)),
)

CHECKS = (
    Check(find_steps_at_once),
    Check(find_workers_with_two),
    Check(find_left_claims, release),
)
