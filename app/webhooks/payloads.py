"""What webhooks are sent, as the OpenAPI document lists it."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app.audit.schemas import ActorJson
from app.db.base import JsonObject
from app.tasks.event_schemas import Envelope, StateData
from app.webhooks.outbox import WebhookEvent

router = APIRouter(
    responses={
        204: {"description": "Taken, as any status of 2xx says."},
        "default": {"description": "Not taken: it is sent again later."},
    }
)


class Notice(Envelope):
    """What a webhook is sent: the envelope of events, around what happened."""

    id: str = Field(
        description="The delivery's id, a UUID; the same as `webhook-id` at every attempt."
    )


class VersionData(BaseModel):
    """The version that something happened to."""

    version: int = Field(description="Its number.")


class PromotedData(VersionData):
    """The version that went live."""

    by: ActorJson = Field(description="Who promoted it; a worker where the gate let it pass.")


class RolledBackData(VersionData):
    """The version that is not live any more."""

    live: int = Field(description="Number of the version that is live instead.")
    by: ActorJson = Field(description="Who did it.")


def _example(type_: WebhookEvent, task: str | None, **data: Any) -> ConfigDict:
    envelope: JsonObject = {"id": "0d8c1a9e-5f0b-4a57-9f6d-0a4b1c6e3f52", "type": type_}
    envelope |= {"at": "2026-11-21T16:53:40.118245Z", "task": task, "model": "default"}
    return ConfigDict(json_schema_extra={"examples": [envelope | {"data": data}]})


_TASK = "2ccf943e-3427-467c-a8a9-3dd85cad8432"
_GATE, _EVA = {"type": "worker", "name": "gpu-1"}, {"type": "key", "name": "eva"}
_ENDED = {"state": "succeeded", "phase": None, "outcome": "held", "version": 3, "error": None}


class TaskEndedNotice(Notice):
    """A task has ended."""

    type: Literal[WebhookEvent.TASK_ENDED] = Field(description="`task.ended`.")
    task: str = Field(description="Id of the task.")
    data: StateData = Field(description="How it ended.")

    model_config = _example(WebhookEvent.TASK_ENDED, _TASK, **_ENDED)


class VersionHeldNotice(Notice):
    """A task made a version that the gate held back."""

    type: Literal[WebhookEvent.VERSION_HELD] = Field(description="`version.held`.")
    task: str = Field(description="Id of the task.")
    data: VersionData = Field(description="The version.")

    model_config = _example(WebhookEvent.VERSION_HELD, _TASK, version=3)


class VersionPromotedNotice(Notice):
    """A version went live."""

    type: Literal[WebhookEvent.VERSION_PROMOTED] = Field(description="`version.promoted`.")
    task: str | None = Field(description="Id of the task that made it go live; null: none did.")
    data: PromotedData = Field(description="The version.")

    model_config = _example(WebhookEvent.VERSION_PROMOTED, _TASK, version=3, by=_GATE)


class VersionRolledBackNotice(Notice):
    """The live version was taken back."""

    type: Literal[WebhookEvent.VERSION_ROLLED_BACK] = Field(description="`version.rolled_back`.")
    task: None = Field(None, description="Always null.")
    data: RolledBackData = Field(description="The version.")

    model_config = _example(WebhookEvent.VERSION_ROLLED_BACK, None, version=3, live=2, by=_EVA)


@router.post("task.ended", status_code=204, operation_id="webhook_task_ended")
def task_ended(_body: TaskEndedNotice) -> Response:
    """A task has ended. Signed as `POST /admin/webhooks` says."""
    return Response(status_code=204)


@router.post("version.held", status_code=204, operation_id="webhook_version_held")
def version_held(_body: VersionHeldNotice) -> Response:
    """A task made a version that the gate held back; `task.ended` comes too."""
    return Response(status_code=204)


@router.post("version.promoted", status_code=204, operation_id="webhook_version_promoted")
def version_promoted(_body: VersionPromotedNotice) -> Response:
    """A version went live: by the gate, by an import, or because somebody asked for it."""
    return Response(status_code=204)


@router.post("version.rolled_back", status_code=204, operation_id="webhook_version_rolled_back")
def version_rolled_back(_body: VersionRolledBackNotice) -> Response:
    """Somebody took the live version back."""
    return Response(status_code=204)
