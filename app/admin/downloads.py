"""What a request for a version's file asks for: a part of it, or only what has changed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import Header
from fastapi.responses import FileResponse
from pydantic import AfterValidator
from starlette.types import Receive, Scope, Send

from app.errors import Problem


class RangeProblem(Problem):
    """The file has no such bytes."""

    status = 416
    slug = "no-such-range"
    title = "The range cannot be sent"

    def __init__(self, asked: str, size: int) -> None:
        super().__init__(f"the file has {size} bytes, which bytes={asked} does not fit")
        self.size = size

    @property
    def headers(self) -> dict[str, str]:
        """How long the file is (RFC 9110)."""
        return {"Content-Range": f"bytes */{self.size}"}


_RANGE = re.compile(r"\d{1,15}-\d{0,15}|-\d{1,15}")


def _bytes_range(asked: str | None) -> str | None:
    """Return which bytes a `Range` names; other units are ignored, as RFC 9110 asks.

    So are several ranges at once, as it allows: nobody needs them here.

    Raises:
        ValueError: it is of bytes and no range.
    """
    unit, _, asked = (asked or "").partition("=")
    if unit.strip().lower() != "bytes":
        return None
    ranges = [one.strip() for one in asked.split(",")]
    if not all(map(_RANGE.fullmatch, ranges)):
        raise ValueError("a range of bytes, as in bytes=0-99")
    return ranges[0] if len(ranges) == 1 else None


Range = Annotated[
    str | None,
    Header(
        alias="Range",
        description="Bytes to send, `bytes=0-99`; other units and several ranges are ignored.",
    ),
    AfterValidator(_bytes_range),
]
IfNoneMatch = Annotated[
    list[str] | None,
    Header(alias="If-None-Match", description="`ETag`s that the caller has: 304 for these."),
]


def check_range(asked: str, size: int) -> None:
    """Check that a file has the bytes that a `Range` header asks for.

    Args:
        asked: one range of bytes, `0-99`, `100-` or `-100`.
        size: of the file, bytes.

    Raises:
        RangeProblem: it has not.
    """
    first, _, last = asked.partition("-")
    empty = int(first) >= size if first else int(last) == 0
    if empty or (first and last and int(first) > int(last)):
        raise RangeProblem(asked, size)


def is_known(etag: str, known: Sequence[str]) -> bool:
    """Return whether an `If-None-Match`, given once or more often, names an `ETag`."""
    named = {one.strip().removeprefix("W/") for line in known for one in line.split(",")}
    return not named.isdisjoint({etag, "*"})


class WholeFileResponse(FileResponse):
    """A file, whatever the request says of a part of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def file_response(path: Path, filename: str, etag: str, asked: str | None) -> FileResponse:
    """Return the answer with a file, or with the bytes of it that were asked for.

    Raises:
        RangeProblem: it has no such bytes.
    """
    if asked is None:
        return WholeFileResponse(path, filename=filename, headers={"ETag": etag})
    check_range(asked, path.stat().st_size)
    return FileResponse(path, filename=filename, headers={"ETag": etag})
