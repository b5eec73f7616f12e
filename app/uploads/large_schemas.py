"""What goes in and out where an upload comes in parts."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.db import LargeUploadState
from app.records.patterns import SHA256
from app.records.posted import PostedNumbers
from app.registry.schemas import PostedName

_ID = "5d3a9e0e-6a4c-4f0a-9a51-1f2f7c1c8f11"
_SHA256 = "bc0ab816f094cf0ee5cff7a4134db266e8e1deebf6e3da6c4ac36ba6808c4d58"
WISH_EXAMPLE: dict[str, Any] = {"bytes": 150000000, "sha256": _SHA256, "name": "sheep.zip"}
_EXAMPLE: dict[str, Any] = {
    "upload": _ID,
    "state": "open",
    "name": "sheep.zip",
    "bytes": 150000000,
    "sha256": _SHA256,
    "part_bytes": 67108864,
    "parts": 3,
    "stored": [1, 2],
    "missing": [
        {
            "number": 3,
            "offset": 134217728,
            "bytes": 15782272,
            "url": f"/uploads/{_ID}/parts/3",
            "headers": {},
        }
    ],
    "expires_at": "2026-11-23T11:32:27Z",
    "links": {
        "self": f"/uploads/{_ID}",
        "parts": f"/uploads/{_ID}/parts",
        "complete": f"/uploads/{_ID}:complete",
        "tasks": "/tasks",
    },
}


class LargeUploadWish(PostedNumbers):
    """A file that is to be sent in parts."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [WISH_EXAMPLE]})

    bytes: int = Field(gt=0, description="How many it has.")
    sha256: str | None = Field(
        None,
        pattern=SHA256,
        description="Of all of them, hex: other ones are refused at the end, and who posts the "
        "same again gets the upload that was begun. Default: not known.",
    )
    name: PostedName = Field("dataset.zip", description="What people call it.")


class PartJson(BaseModel):
    """A part that is still to be sent."""

    number: int = Field(description="Its number; parts count from 1.")
    offset: int = Field(description="Where in the file it begins.")
    bytes: int = Field(description="How many it has.")
    url: str = Field(
        description="Where to send it, by `PUT` and as it is. What begins with `/` is this "
        "service's own and needs the key; any other one must not get it."
    )
    headers: dict[str, str] = Field(description="Headers that the request must have.")


class LargeUploadLinks(BaseModel):
    """Where to go from here."""

    self: str = Field(description="What is in it, once it is `done`.")
    parts: str = Field(description="Where it stands, and where to send what is missing.")
    complete: str = Field(description="Where to post when nothing is missing.")
    tasks: str = Field(description="Where to post `upload` then, in place of a file.")


class LargeUploadJson(BaseModel):
    """A file that comes in parts, and how far it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    upload: str = Field(description="Stands for it in `POST /tasks`; good for this key alone.")
    state: LargeUploadState = Field(
        description="`open`: parts may come. `checking`: they are being put together. `done`: a "
        "task can be made of it. `failed`: they are not what was announced."
    )
    name: str = Field(description="What people call it.")
    bytes: int = Field(description="How many it has.")
    sha256: str | None = Field(description="Of its bytes, hex; null: not known yet.")
    part_bytes: int = Field(description="Bytes of every part but the last.")
    parts: int = Field(description="How many there are.")
    stored: list[int] = Field(description="Numbers of those that are there, in order.")
    missing: list[PartJson] = Field(
        description="The first hundred of those that are not; empty where it is not `open`."
    )
    urls_expire_at: datetime | None = Field(
        None, description="Until when their URLs are good: then ask again. Null: always."
    )
    error: dict[str, Any] | None = Field(
        None,
        description="A problem: why it failed, or could not be put together for now; null: none.",
    )
    expires_at: datetime = Field(description="Until when it is kept; a task keeps it longer.")
    links: LargeUploadLinks = Field(description="Where to look next.")
