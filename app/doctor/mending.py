"""The repair of a task's row, and the entry in the audit log that says so."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.audit.actor import act_as
from app.audit.service import Action, record
from app.db import Task, Version, write_session
from app.db.base import JsonObject, utc_text
from app.doctor.finding import Finding, Installation


def mend_task(
    installation: Installation, finding: Finding, *still: ColumnElement[bool], **values: Any
) -> None:
    """Give fields of a task other values, and write down what they were, in one transaction.

    Args:
        installation: whose task it is.
        finding: what is mended; it names the task.
        still: what holds of the row as long as the finding stands; otherwise nothing is done.
        values: the fields' new values, or expressions for them.
    """
    task_id = finding.where.removeprefix("task ")
    with write_session(installation.engine) as session:
        act_as(session, installation.actor)
        task = session.scalar(
            select(Task).where(Task.id == task_id, *still).with_for_update(of=Task)
        )
        if task is None:
            return
        before = _said(session, task, values)
        for name, value in values.items():
            setattr(task, name, value)
        session.flush()
        record(
            session,
            Action.DOCTOR_REPAIR,
            f"/tasks/{task_id}",
            model=task.model.name,
            before=before,
            after={"finding": finding.kind} | _said(session, task, values),
        )


def _said(session: Session, task: Task, names: Iterable[str]) -> JsonObject:
    return dict(_shown(session, name, getattr(task, name)) for name in names)


def _shown(session: Session, name: str, value: Any) -> tuple[str, Any]:
    """Return a field as the API shows it, which knows no ids of rows."""
    if name == "version_id":
        version = None if value is None else session.get(Version, value)
        return "version", None if version is None else version.number
    return name, utc_text(value) if isinstance(value, datetime) else value
