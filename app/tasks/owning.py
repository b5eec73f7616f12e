"""The task in a path, where the caller sees it."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path

from app.db import read_session
from app.dependencies import AppServices, Submitter
from app.tasks.service import get_task
from app.tasks.visibility import visible


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
