"""How a post that queues a task is answered, in every endpoint that takes one."""

from typing import Annotated

from fastapi import BackgroundTasks, Response

from app.broker import wake
from app.db import Actor
from app.http.afterwards import afterwards
from app.http.problems import Responses
from app.http.services import Services
from app.idempotency.once import KEY_HEADER
from app.tasks.accepting import Acceptance
from app.tasks.schemas import TaskJson

IdempotencyKey = Annotated[
    str | None,
    KEY_HEADER(
        description="Any text of the caller's. The same key with the same request gives the "
        "same task again instead of a second one.",
    ),
]

ACCEPTED: Responses = {
    202: {
        "description": "Queued. `Location` is the task.",
        "headers": {
            "Location": {"description": "The task.", "schema": {"type": "string"}},
            "Idempotency-Replayed": {
                "description": "`true` where this very request had made the task before.",
                "schema": {"type": "string"},
            },
        },
    }
}


def acceptance(services: Services, actor: Actor) -> Acceptance:
    """Return what accepts tasks in this process."""
    return Acceptance(services.engine, services.blobs, services.settings.max_upload_bytes, actor)


def announce(
    services: Services,
    response: Response,
    background: BackgroundTasks,
    task: TaskJson,
    replayed: bool,
) -> TaskJson:
    """Say where the task is, and wake a worker once the answer is out."""
    response.headers["Location"] = task.links.self
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    else:
        first = task.preview or task.id
        afterwards(background, wake, services.sender.celery, first)
    return task
