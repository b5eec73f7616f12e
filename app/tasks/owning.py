"""Whose tasks are whose: a key sees its own, an admin all."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from sqlalchemy import ColumnElement, true

from app.db import Model, Task, read_session
from app.dependencies import AppServices, Submitter
from app.keys.service import Caller, Scope
from app.tasks.service import get_task


def visible(caller: Caller) -> ColumnElement[bool]:
    """Return which tasks a caller sees: all of an admin's models, or those that its key posted."""
    if not caller.may(Scope.ADMIN):
        return Task.key_id == caller.key_id
    if caller.models:
        return Task.model.has(Model.name.in_(caller.models))
    return true()


def own_task(
    services: AppServices,
    caller: Submitter,
    task_id: Annotated[UUID, Path(description="The task's id.")],
) -> UUID:
    """Return the id of a task that the caller sees; for any other there is no such task."""
    with read_session(services.engine) as session:
        get_task(session, str(task_id), visible(caller))
    return task_id


TaskId = Annotated[UUID, Depends(own_task)]
"""The id in a path, of a task that the caller sees."""
