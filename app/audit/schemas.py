"""What comes out of `/admin/audit`."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.db import Actor, ActorType, AuditEntry
from app.records.paging import Page


class ActorJson(BaseModel):
    """Who did something."""

    type: ActorType = Field(
        description="`key`: a call with an API key; `keyless`: a call without one; `worker`: a "
        "worker by itself; `cli`: a command on the service's own machine."
    )
    name: str = Field(
        description="Name of the key, the worker or the machine's user; empty where there is none.",
        examples=["phone-app"],
    )

    @classmethod
    def of(cls, actor: Actor) -> "ActorJson":
        """Return how somebody looks over HTTP."""
        return cls(type=actor.type, name=actor.name)

    @classmethod
    def of_any(cls, actor: Actor | None) -> "ActorJson | None":
        """Return how somebody looks, None where nobody is recorded."""
        return None if actor is None else cls.of(actor)


class AuditEntryJson(BaseModel):
    """One deed, as it was written down with it."""

    id: int = Field(description="Its number; later deeds have higher ones.")
    at: datetime = Field(description="When.")
    action: str = Field(description="What was done.", examples=["version.promote"])
    actor: ActorJson = Field(description="Who did it.")
    request_id: str | None = Field(description="Id of the request; null where it has none.")
    model: str | None = Field(description="The model that it concerns; null: none alone.")
    object: str = Field(
        description="Path under which the API shows what it was done to.",
        examples=["/admin/models/default/versions/3"],
    )
    before: dict[str, Any] | None = Field(
        description="What changed of the object, as it was; null: it was not there."
    )
    after: dict[str, Any] | None = Field(
        description="The same as it is since; null: it is not there any more."
    )
    previous: str = Field(description="`hash` of the entry before it; zeros in the first one.")
    hash: str = Field(
        description="SHA-256, hex, of the other fields but `id` as JSON with sorted keys and "
        "without spaces: a changed or missing entry breaks the chain."
    )


class AuditPage(Page[AuditEntryJson]):
    """Some entries, the newest first."""


def entry_json(entry: AuditEntry) -> AuditEntryJson:
    """Return how an entry looks over HTTP."""
    return AuditEntryJson(
        id=entry.id,
        at=entry.at,
        action=entry.action,
        actor=ActorJson(type=ActorType(entry.actor_type), name=entry.actor_name),
        request_id=entry.request_id,
        model=entry.model,
        object=entry.object,
        before=entry.before,
        after=entry.after,
        previous=entry.previous,
        hash=entry.hash,
    )
