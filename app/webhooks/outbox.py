"""What is told to webhooks: written in the transaction of the deed, delivered later."""

from enum import StrEnum
from uuid import uuid4

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.db import Model, Task, TaskState, Webhook, WebhookDelivery, utc_now
from app.db.base import JsonObject, utc_text


class WebhookEvent(StrEnum):
    """What a webhook can be told of."""

    TASK_ENDED = "task.ended"
    VERSION_HELD = "version.held"
    VERSION_PROMOTED = "version.promoted"
    VERSION_ROLLED_BACK = "version.rolled_back"


def enqueue(session: Session, event: WebhookEvent, model: str, data: JsonObject) -> None:
    """Add a delivery for every webhook that wants this event of this model. Flushes nothing."""
    hooks = select(Webhook).where(or_(Webhook.model.is_(None), Webhook.model == model))
    # Who deletes one waits: a delivery to a webhook that is gone would undo the deed.
    for hook in session.scalars(hooks.with_for_update(read=True, key_share=True)):
        if event in hook.events:
            number, now = str(uuid4()), utc_now()
            said = {"id": number, "event": event, "at": utc_text(now), "model": model}
            session.add(
                WebhookDelivery(
                    id=number,
                    webhook_id=hook.id,
                    event=event,
                    created_at=now,
                    payload=said | data,
                )
            )


def task_ended(session: Session, task_id: str, state: TaskState, version: int | None) -> None:
    """Tell that a task has ended, and that its version is held where it is."""
    of_task = select(Model.name).join(Task, Task.model_id == Model.id).where(Task.id == task_id)
    model = session.scalars(of_task).one()
    data: JsonObject = {"task": task_id, "state": state, "version": version}
    enqueue(session, WebhookEvent.TASK_ENDED, model, data)
    if state == TaskState.HELD:
        enqueue(session, WebhookEvent.VERSION_HELD, model, {"task": task_id, "version": version})
