"""A version's parent exists, and its step started from what was named, or was live, at its start.

The claim of a task writes down, in one transaction, what was live and what the step starts from.
"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.db import Model, Task, TaskKind, Version
from app.doctor.finding import Check, Finding, Installation


def find_lost_parents(installation: Installation) -> Sequence[Finding]:
    """Return the versions whose parent is not there, is another model's, or came after them."""
    parent = aliased(Version)
    wanted = (
        select(Version, parent, Model.name)
        .join(Model, Model.id == Version.model_id)
        .outerjoin(parent, parent.id == Version.parent_id)
        .where(Version.parent_id.is_not(None))
    )
    with installation.snapshot() as session:
        rows = session.execute(wanted).all()
    found = []
    for version, parent_row, name in rows:
        before: Version | None = parent_row
        fault = None
        if before is None:
            fault = "its parent is not there"
        elif before.model_id != version.model_id:
            fault = "its parent is a version of another model"
        elif before.number >= version.number:
            fault = f"its parent is version {before.number}, which came after it"
        if fault:
            where = f"version {version.number} of {name!r}"
            found.append(Finding("parent-missing", fault, where))
    return found


def find_strange_starts(installation: Installation) -> Sequence[Finding]:
    """Return the versions whose step started from another version than it was to."""
    with installation.snapshot() as session:
        rows = session.execute(
            select(Version, Task, Model.name)
            .join(Task, Task.id == Version.task_id)
            .join(Model, Model.id == Version.model_id)
        ).all()
        return [
            Finding("start-strange", fault, f"version {version.number} of {name!r}")
            for version, task, name in rows
            if (fault := _fault(session, version, task)) is not None
        ]


def _fault(session: Session, version: Version, task: Task) -> str | None:
    if task.kind == TaskKind.IMPORT:
        return None if version.parent_id is None else "it was imported and has a parent"
    if version.parent_id != task.parent_id:
        return "its parent is not the version that its task started from"
    named = task.spec.get("parent")
    if named is None:
        start = task.live_id
    else:
        start = session.scalar(
            select(Version.id).where(Version.model_id == task.model_id, Version.number == named)
        )
    if task.parent_id == start:
        return None
    preview = session.scalar(
        select(Version).join(Task, Task.version_id == Version.id).where(Task.preview_of == task.id)
    )
    if preview is not None and start == preview.id and task.parent_id == preview.parent_id:
        return None  # a step never starts from its own preview
    what = "was live when it started" if named is None else f"it named ({named})"
    return f"its step did not start from the version that {what}"


CHECKS = (Check(find_lost_parents), Check(find_strange_starts))
