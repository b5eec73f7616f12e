"""The task in a path, where the caller sees it, and where it may change it."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path

from app.db import read_session
from app.errors import ForbiddenProblem
from app.http.dependencies import AppServices, Follower, Submitter
from app.keys.service import Scope
from app.tasks.service import get_task
from app.tasks.visibility import visible


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
