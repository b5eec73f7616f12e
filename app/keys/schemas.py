"""What goes in and out of `/admin/keys`."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.audit.schemas import ActorJson
from app.db import ApiKey
from app.db.base import utc_now
from app.keys.service import KeyLimits, Scope
from app.records.paging import Page
from app.records.posted import PostedNumbers, WrittenOut
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN
from sats_core.record import Record

NAME_LENGTH = 100
MAX_BYTES = 2**63 - 1

WISH_EXAMPLE: dict[str, Any] = {
    "name": "phone-app",
    "scopes": ["segment"],
    "models": ["default"],
    "pictures_per_minute": 600,
}


def _printable(name: str) -> str:
    if not name.isprintable() or name.isspace():
        raise ValueError("a name has 1 to 100 printable characters, not blanks alone")
    return name


def _to_come(time: datetime) -> datetime:
    try:
        found = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not a time between the years 1 and 9999 in UTC") from error
    if found <= utc_now():
        raise ValueError("this time has passed")
    return found


KeyName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_LENGTH),
    AfterValidator(_printable),
]
Count = Annotated[int | None, Field(ge=1, le=MAX_NUMBER)]


class KeyRules(Record):
    """What a key may do, and how much of it."""

    scopes: list[Scope] = Field(
        min_length=1, description="What it may do; `admin` includes the others."
    )
    models: list[Annotated[str, StringConstraints(pattern=MODEL_PATTERN)]] = Field(
        default_factory=list,
        max_length=1000,
        description="The only models that it may use; empty: all.",
    )
    expires_at: Annotated[datetime, AfterValidator(_to_come), WrittenOut] | None = Field(
        None, description="When it stops to work; without a zone, UTC. Null: never."
    )
    requests_per_minute: Count = Field(
        None,
        description="Most requests in a minute, to all processes of the API together; null: any.",
    )
    pictures_per_minute: Count = Field(
        None, description="Most pictures to `/segment` in a minute, likewise; null: any."
    )
    concurrent_requests: Count = Field(
        None,
        description="Most requests with pictures under way at a time, for each process of the "
        "API; null: any.",
    )
    queued_tasks: Count = Field(
        None, description="Most of its tasks that wait; one and its preview count once."
    )
    stored_bytes: Annotated[int | None, Field(ge=1, le=MAX_BYTES)] = Field(
        None,
        description="Most bytes that its tasks keep: uploads, files of versions, replay pictures.",
    )

    @property
    def limits(self) -> KeyLimits:
        """How much it may ask for."""
        return KeyLimits(
            requests_per_minute=self.requests_per_minute,
            pictures_per_minute=self.pictures_per_minute,
            concurrent_requests=self.concurrent_requests,
            queued_tasks=self.queued_tasks,
            stored_bytes=self.stored_bytes,
        )


class KeyWish(PostedNumbers, KeyRules):
    """A key to be made."""

    model_config = ConfigDict(json_schema_extra={"examples": [WISH_EXAMPLE]})

    name: KeyName = Field(description="Who or what will use it; no two keys have the same.")


class KeyJson(BaseModel):
    """A key; its text is not stored."""

    id: int = Field(description="Its number.", examples=[3])
    name: str = Field(description="Who or what uses it.", examples=["phone-app"])
    scopes: list[Scope] = Field(description="What it may do.", examples=[["segment"]])
    models: list[str] = Field(
        description="The only models that it may use; empty: all.", examples=[["default"]]
    )
    created_at: datetime = Field(
        description="When it was made.", examples=["2026-11-22T06:06:02.118204Z"]
    )
    made_by: ActorJson | None = Field(
        description="Who made it; null: it was made before that was recorded."
    )
    expires_at: datetime | None = Field(description="When it stops to work; null: never.")
    revoked_at: datetime | None = Field(description="When it was revoked; null: it was not.")
    revoked_by: ActorJson | None = Field(description="Who revoked it; null: nobody, or unknown.")
    last_used_at: datetime | None = Field(
        description="When it was last used, to the minute; null: never."
    )
    requests_per_minute: int | None = Field(
        description="Most requests in a minute; null: any.", examples=[60]
    )
    pictures_per_minute: int | None = Field(description="Most pictures in a minute; null: any.")
    concurrent_requests: int | None = Field(
        description="Most requests with pictures under way at a time; null: any."
    )
    queued_tasks: int | None = Field(description="Most tasks that wait; null: any.")
    stored_bytes: int | None = Field(description="Most bytes that its tasks keep; null: any.")


class NewKeyJson(KeyJson):
    """A key that has just been made."""

    key: str = Field(
        description="Its text, for the header `Authorization: Bearer ...`: shown now and never "
        "again.",
        examples=["sats_..."],
    )


class KeyPage(Page[KeyJson]):
    """Some keys, the newest first."""


def key_json(key: ApiKey) -> KeyJson:
    """Return how a key looks over HTTP."""
    return KeyJson(
        id=key.id,
        name=key.name,
        scopes=[Scope(scope) for scope in key.scopes],
        models=key.models or [],
        created_at=key.created_at,
        made_by=ActorJson.of_any(key.made_by),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        revoked_by=ActorJson.of_any(key.revoked_by),
        last_used_at=key.last_used_at,
        requests_per_minute=key.requests_per_minute,
        pictures_per_minute=key.pictures_per_minute,
        concurrent_requests=key.concurrent_requests,
        queued_tasks=key.queued_tasks,
        stored_bytes=key.stored_bytes,
    )
