"""The pictures that a request brings: a multipart form, JSON, or one picture as the body."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from app.errors import (
    ErrorDetail,
    InvalidProblem,
    TooLargeProblem,
    UnsupportedMediaProblem,
)
from app.errors.codes import Code
from app.http.bodies import beginning, bounded, in_utf8
from app.http.connected import LeftProblem
from app.segmentation.json_pictures import most_json_bytes, read_json
from app.segmentation.signatures import LONGEST, starts_as_picture
from sats_core.data.names import printable

FIELD = "pictures"
FIELDS = (FIELD, "file", "files", "image", "images")
"""Names that a form's pictures may have; they mean the same."""
FORM, JSON = "multipart/form-data", "application/json"
FRAME_BYTES = 256 * 1024
"""What a form or JSON may have beside the pictures."""
ALLOWED = (
    f"post a form (multipart/form-data) with files named `{FIELD}`, the file of a picture (PNG, "
    "JPEG, WebP, BMP or TIFF), or JSON (application/json) with pictures in base64"
)
_MAX_NAME = 200
_MAX_PARTS = 1000


@dataclass(frozen=True)
class PostedPicture:
    """A picture as it came: a name for messages, and its bytes."""

    name: str
    data: bytes


def content_type(request: Request) -> str:
    """Return what a request says of its body, without parameters; empty where it says nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Does work in a thread; cancelled, it waits until that has ended."""


async def read_pictures(
    request: Request, most_bytes: int, most: int, in_thread: InThread
) -> list[PostedPicture]:
    """Read a request's pictures, at least one, in the order in which they came.

    A body that begins as a picture is one, whatever its content type.

    Args:
        request: its body is a form of files, JSON with base64, or a picture.
        most_bytes: of the pictures together.
        most: most pictures.
        in_thread: reads JSON: room is held for its body until the thread is done with it.

    Raises:
        TooLargeProblem: too many bytes or pictures.
        UnsupportedMediaProblem: the body is none of these; what follows its first bytes is unread.
        InvalidProblem: no picture, or a field that is none.
        BadRequestProblem: the body ends too early.
    """
    problem = TooLargeProblem(
        f"the pictures have more than {most_bytes} bytes together",
        [ErrorDetail(f"more than {most_bytes} bytes", field=FIELD, code=Code.TOO_LARGE)],
    )
    kind = content_type(request)
    try:
        whole = bounded(request, _most_body_bytes(kind, most_bytes), problem)
        found = await _pictures(kind, whole, most, in_thread)
    except ClientDisconnect as error:
        raise LeftProblem("the connection was closed before the body was whole") from error
    if sum(len(picture.data) for picture in found) > most_bytes:
        raise problem
    return found


def _most_body_bytes(kind: str, most_bytes: int) -> int:
    if kind == JSON:
        return most_json_bytes(most_bytes) + FRAME_BYTES
    return most_bytes + FRAME_BYTES if kind == FORM else most_bytes


async def _pictures(
    kind: str, request: Request, most: int, in_thread: InThread
) -> list[PostedPicture]:
    first, whole = await beginning(request, LONGEST)
    if starts_as_picture(first) or kind.startswith("image/"):
        return [PostedPicture("picture", await whole.body())]
    if kind == FORM:
        return await _from_form(whole, most)
    if kind == JSON:
        body = await whole.body()
        named = await in_thread(partial(read_json, body, most))
        return [PostedPicture(name, data) for name, data in named.items()]
    raise UnsupportedMediaProblem(ALLOWED)


async def _from_form(request: Request, most: int) -> list[PostedPicture]:
    async with in_utf8(request).form(max_files=_MAX_PARTS, max_fields=_MAX_PARTS) as form:
        files = _files(form)
        if len(files) > most:
            raise TooLargeProblem(f"{len(files)} pictures; one request takes at most {most}")
        return [PostedPicture(_name(file), await file.read()) for file in files]


def _files(form: FormData) -> list[UploadFile]:
    for field, value in form.multi_items():
        if field not in FIELDS or not isinstance(value, UploadFile):
            shown = printable(field)[:_MAX_NAME]
            names = ", ".join(f"`{name}`" for name in FIELDS)
            raise InvalidProblem(
                f"a form holds files only, named {names}",
                [
                    ErrorDetail("not a file", field=shown, code=Code.WRONG_TYPE)
                    if field in FIELDS
                    else ErrorDetail("unknown field", field=shown, code=Code.UNKNOWN)
                ],
            )
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise InvalidProblem(
            "no picture came", [ErrorDetail("missing", field=FIELD, code=Code.MISSING)]
        )
    return files


def _name(file: UploadFile) -> str:
    return printable(file.filename or "picture")[:_MAX_NAME]
