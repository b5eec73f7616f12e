"""Whose tasks are whose: a key sees and changes its own; who may read sees all, an admin both."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from sqlalchemy import ColumnElement, true

from app.db import Model, Task, read_session
from app.dependencies import AppServices, Submitter, require
from app.errors import ForbiddenProblem
from app.keys.service import Caller, Scope
from app.tasks.service import get_task

Follower = Annotated[Caller, Depends(require(Scope.SUBMIT, Scope.READ))]


def visible(caller: Caller) -> ColumnElement[bool]:
    """Return which tasks a caller sees: all of a reader's models, or those that its key posted."""
    if not caller.may(Scope.READ):
        return Task.key_id == caller.key_id
    if caller.models:
        return Task.model.has(Model.name.in_(caller.models))
    return true()


def seen_task(
    services: AppServices,
    caller: Follower,
    task_id: Annotated[UUID, Path(description="The task's id.")],
) -> UUID:
    """Return the id of a task that the caller sees; for any other there is no such task."""
    with read_session(services.engine) as session:
        get_task(session, str(task_id), visible(caller))
    return task_id


TaskId = Annotated[UUID, Depends(seen_task)]
"""The id in a path, of a task that the caller sees."""


def changed_task(services: AppServices, caller: Submitter, task_id: TaskId) -> UUID:
    """Return the id of a task that the caller sees and may change.

    Raises:
        ForbiddenProblem: it may read it alone: another key posted it.
    """
    with read_session(services.engine) as session:
        task = get_task(session, str(task_id))
        if task.key_id != caller.key_id and not caller.may(Scope.ADMIN):
            raise ForbiddenProblem("another key posted the task: this one may read it alone")
    return task_id


ChangedTaskId = Annotated[UUID, Depends(changed_task)]
"""The id in a path, of a task that the caller may change."""
