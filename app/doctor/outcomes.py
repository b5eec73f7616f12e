"""Every task that has ended has an outcome or a reason."""

from collections.abc import Sequence

from sqlalchemy import or_, select

from app.db import END_STATES, Task, TaskState, Version
from app.db.base import database_time
from app.doctor.finding import Check, Finding, Installation
from app.doctor.mending import mend_task

_MADE = (TaskState.LIVE, TaskState.HELD)


def find_missing_outcomes(installation: Installation) -> Sequence[Finding]:
    """Return the tasks that ended with a version and do not say, or not rightly, with which."""
    wanted = (
        select(Task.id, Task.state, Version.id.label("made"))
        .outerjoin(Version, Version.task_id == Task.id)
        .where(Task.state.in_(_MADE))
        .where(
            or_(Task.version_id.is_(None), Version.id.is_(None), Task.version_id != Version.id),
        )
    )
    with installation.snapshot() as session:
        return [
            Finding(
                "outcome-missing",
                f"it is {row.state} and does not name the version that it made",
                f"task {row.id}",
                repairable=row.made is not None,
            )
            for row in session.execute(wanted)
        ]


def name_version(installation: Installation, finding: Finding) -> None:
    """Let the task name the version that names the task."""
    task_id = finding.where.removeprefix("task ")
    with installation.snapshot() as session:
        made = session.scalar(select(Version.id).where(Version.task_id == task_id))
    if made is not None:
        mend_task(installation, finding, Task.version_id.is_distinct_from(made), version_id=made)


def find_missing_reasons(installation: Installation) -> Sequence[Finding]:
    """Return the failed tasks that do not say why."""
    with installation.snapshot() as session:
        failed = session.execute(
            select(Task.id, Task.error).where(Task.state == TaskState.FAILED)
        ).all()
    return [
        Finding("reason-missing", "it failed and does not say why", f"task {row.id}")
        for row in failed
        if not row.error
    ]


def find_missing_ends(installation: Installation) -> Sequence[Finding]:
    """Return the tasks that ended nobody knows when: no keeping time ever runs out for them."""
    with installation.snapshot() as session:
        return [
            Finding("end-missing", "it does not say when it ended", f"task {task_id}", True)
            for task_id in session.scalars(select(Task.id).where(*_ENDLESS))
        ]


def end_now(installation: Installation, finding: Finding) -> None:
    """Let its keeping time begin now."""
    mend_task(installation, finding, *_ENDLESS, finished_at=database_time())


def find_early_versions(installation: Installation) -> Sequence[Finding]:
    """Return the versions whose task has not ended with them."""
    wanted = (
        select(Task.id, Task.state, Version.number)
        .join(Version, Version.task_id == Task.id)
        .where(Task.state.not_in(_MADE))
    )
    with installation.snapshot() as session:
        return [
            Finding(
                "version-early",
                f"version {row.number} is registered and its task is {row.state}",
                f"task {row.id}",
            )
            for row in session.execute(wanted)
        ]


_ENDLESS = (Task.state.in_(END_STATES), Task.finished_at.is_(None))

CHECKS = (
    Check(find_missing_outcomes, name_version),
    Check(find_missing_reasons),
    Check(find_missing_ends, end_now),
    Check(find_early_versions),
)
