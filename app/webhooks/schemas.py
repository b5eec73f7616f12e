"""What goes into and comes out of `/admin/webhooks`."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.audit.schemas import ActorJson
from app.db import DeliveryState
from app.records.paging import Page
from app.registry.schemas import MODEL_PATTERN
from app.webhooks.outbox import WebhookEvent


class WebhookSpec(BaseModel):
    """A webhook to be made."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        max_length=2000,
        description="Where to POST to, http or https.",
        examples=["https://example.org/hooks/sats"],
    )
    events: list[WebhookEvent] = Field(
        min_length=1, description="What to be told of.", examples=[["task.ended"]]
    )
    model: Annotated[str, Field(pattern=MODEL_PATTERN)] | None = Field(
        None, description="Only this model's events, which need not be there yet; null: all."
    )


class WebhookJson(BaseModel):
    """A webhook."""

    id: str = Field(description="Its id.")
    url: str = Field(description="Where it is delivered to.")
    events: list[WebhookEvent] = Field(description="What it is told of.")
    model: str | None = Field(description="The only model it is told of; null: all.")
    created_at: datetime = Field(description="When it was made.")
    made_by: ActorJson = Field(description="Who made it.")


class NewWebhookJson(WebhookJson):
    """A webhook that has just been made."""

    secret: str = Field(
        description="What deliveries are signed with: `whsec_` and base64. Shown once.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw0000000000A="],
    )


class WebhookPage(Page[WebhookJson]):
    """Some webhooks, the newest first."""


class DeliveryJson(BaseModel):
    """One event on its way to a webhook."""

    id: str = Field(description="Its id, `webhook-id` of every attempt.")
    type: WebhookEvent = Field(description="What happened.")
    created_at: datetime = Field(description="When it happened.")
    state: DeliveryState = Field(
        description="`waiting` for its first or next attempt, `delivered`, or `failed`: given up."
    )
    attempts: int = Field(description="How often it was tried.")
    next_attempt_at: datetime | None = Field(
        description="When it is tried again; null: at once, or not any more."
    )
    status: int | None = Field(description="Status of the last answer; null: there was none.")
    error: str | None = Field(description="Why the last attempt came to nothing.")
    ended_at: datetime | None = Field(description="When it was delivered or given up.")


class DeliveryPage(Page[DeliveryJson]):
    """Some deliveries, the newest first."""
