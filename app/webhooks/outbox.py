"""What is told to webhooks: written in the transaction of the deed, delivered later."""

from enum import StrEnum
from uuid import uuid4

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.db import ActorType, Model, Task, TaskState, Webhook, WebhookDelivery, utc_now
from app.db.base import JsonObject, utc_text
from app.tasks.states import standing


class WebhookEvent(StrEnum):
    """What a webhook can be told of."""

    TASK_ENDED = "task.ended"
    VERSION_HELD = "version.held"
    VERSION_PROMOTED = "version.promoted"
    VERSION_ROLLED_BACK = "version.rolled_back"


def enqueue(
    session: Session,
    event: WebhookEvent,
    model: str,
    data: JsonObject,
    task_id: str | None = None,
) -> None:
    """Add a delivery for every webhook that wants this event of this model. Flushes nothing.

    Args:
        session: the transaction of the deed.
        event: what happened.
        model: name of the model.
        data: what else there is to say of it.
        task_id: the task that did it; None: none did.
    """
    hooks = select(Webhook).where(or_(Webhook.model.is_(None), Webhook.model == model))
    # Who deletes one waits: a delivery to a webhook that is gone would undo the deed.
    for hook in session.scalars(hooks.with_for_update(read=True, key_share=True)):
        if event in hook.events:
            number, now = str(uuid4()), utc_now()
            envelope = {"id": number, "type": event, "at": utc_text(now)}
            session.add(
                WebhookDelivery(
                    id=number,
                    webhook_id=hook.id,
                    event=event,
                    created_at=now,
                    payload=envelope | {"task": task_id, "model": model, "data": data},
                )
            )


def task_ended(
    session: Session,
    task_id: str,
    state: TaskState,
    version: int | None,
    error: JsonObject | None = None,
) -> None:
    """Tell that a task has ended, and that its version is held where it is."""
    of_task = select(Model.name).join(Task, Task.model_id == Model.id).where(Task.id == task_id)
    model = session.scalars(of_task).one()
    data = standing(state)._asdict() | {"version": version, "error": error}
    enqueue(session, WebhookEvent.TASK_ENDED, model, data, task_id)
    if state == TaskState.HELD:
        enqueue(session, WebhookEvent.VERSION_HELD, model, {"version": version}, task_id)


_ONCE = {
    "gate": {"type": ActorType.WORKER, "name": ""},
    "import": {"type": ActorType.WORKER, "name": ""},
    "a caller without a key": {"type": ActorType.KEYLESS, "name": ""},
}
"""Who did it, as older versions said it where no key did."""


def envelope_of(payload: JsonObject) -> JsonObject:
    """Return a stored payload as it is sent; those of older versions had no envelope."""
    if "type" in payload:
        return payload
    said = dict(payload)
    envelope: JsonObject = {
        "id": said.pop("id"),
        "type": said.pop("event"),
        "at": said.pop("at"),
        "task": said.pop("task", None),
        "model": said.pop("model"),
    }
    if envelope["type"] == WebhookEvent.TASK_ENDED:
        said = standing(said["state"])._asdict() | {"version": said["version"], "error": None}
    if "by" in said:
        said["by"] = _ONCE.get(said["by"], {"type": ActorType.KEY, "name": said["by"]})
    return envelope | {"data": said}
