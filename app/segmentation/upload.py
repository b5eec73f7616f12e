"""The pictures that a request brings: a multipart form, or one picture as the body."""

from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from app.bodies import bounded
from app.errors import (
    BadRequestProblem,
    ErrorDetail,
    InvalidProblem,
    TooLargeProblem,
    UnsupportedMediaProblem,
)
from sats_core.data.names import printable

FIELD = "pictures"
FRAME_BYTES = 256 * 1024
"""What a form may have beside the pictures."""
_MAX_NAME = 200
_MAX_PARTS = 1000


@dataclass(frozen=True)
class PostedPicture:
    """A picture as it came: a name for messages, and its bytes."""

    name: str
    data: bytes


async def read_pictures(request: Request, most_bytes: int, most: int) -> list[PostedPicture]:
    """Read a request's pictures, at least one.

    Args:
        request: its body is a form with `pictures` files, or a picture with an image/* type.
        most_bytes: largest body.
        most: most pictures.

    Raises:
        TooLargeProblem: too many bytes or pictures.
        UnsupportedMediaProblem: another content type.
        InvalidProblem: no picture, or a field that is none.
        BadRequestProblem: the body ends too early.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    problem = TooLargeProblem(
        f"the pictures have more than {most_bytes} bytes together",
        [ErrorDetail(f"more than {most_bytes} bytes", field=FIELD)],
    )
    try:
        if kind == "multipart/form-data":
            found = await _from_form(bounded(request, most_bytes + FRAME_BYTES, problem), most)
        elif kind.startswith("image/"):
            body = await bounded(request, most_bytes, problem).body()
            found = [PostedPicture("picture", body)]
        else:
            raise UnsupportedMediaProblem(
                f"post a form (multipart/form-data) with `{FIELD}`, or a picture (image/...)"
            )
    except ClientDisconnect as error:
        raise BadRequestProblem("the connection was closed before the body was whole") from error
    if sum(len(picture.data) for picture in found) > most_bytes:
        raise problem
    return found


async def _from_form(request: Request, most: int) -> list[PostedPicture]:
    async with request.form(max_files=_MAX_PARTS, max_fields=_MAX_PARTS) as form:
        files = _files(form)
        if len(files) > most:
            raise TooLargeProblem(f"{len(files)} pictures; one request takes at most {most}")
        return [PostedPicture(_name(file), await file.read()) for file in files]


def _files(form: FormData) -> list[UploadFile]:
    for field, value in form.multi_items():
        if field != FIELD or not isinstance(value, UploadFile):
            shown = printable(field)[:_MAX_NAME]
            raise InvalidProblem(
                f"a form holds files named `{FIELD}` only",
                [ErrorDetail("not a file" if field == FIELD else "unknown field", field=shown)],
            )
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise InvalidProblem("no picture came", [ErrorDetail("missing", field=FIELD)])
    return files


def _name(file: UploadFile) -> str:
    return printable(file.filename or "picture")[:_MAX_NAME]
