"""Forms with files and a JSON part, read after the caller is known and under a limit."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import BinaryIO, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from app.errors import (
    BadRequestProblem,
    ErrorDetail,
    InvalidProblem,
    TooLargeProblem,
    UnsupportedMediaProblem,
)
from app.errors.codes import Code
from app.errors.fields import invalid_fields
from app.http.bodies import beginning, bounded, in_utf8
from app.storage.room import storable

SPEC_BYTES = 1024 * 1024
"""Longest JSON part, whether it comes as a field or as a file."""

FRAME_BYTES = 2 * SPEC_BYTES
"""What a body may have beside its files: the JSON and the multipart frame."""

BEGINNING_BYTES = 64 * 1024
"""So much of a body is looked at for what its form begins with."""

SPEC = "spec"
"""The part that is JSON."""

T = TypeVar("T", bound=BaseModel)


@asynccontextmanager
async def read_form(
    request: Request, files: Sequence[str], most: int, texts: Sequence[str] = (SPEC,)
) -> AsyncIterator[FormData]:
    """Read a form with these files and texts; files go to disk as they come in.

    FastAPI would read a body that it knows of before it asks who the caller is.

    Args:
        request: the request, its body unread.
        files: names of the files, the one that is largest as a rule first.
        most: bytes that any of them may have.
        texts: names of short parts, `spec` among them; it may be a file too.

    Raises:
        UnsupportedMediaProblem: the body is no form.
        TooLargeProblem: it is longer than all files together may be.
        BadRequestProblem: it ends too early.
        DiskFullProblem: there is no room for it.
        InvalidProblem: it has a part that nobody asked for, or one twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        names = ", ".join(f"`{name}`" for name in (*files, *texts))
        raise UnsupportedMediaProblem(f"post {names} as multipart/form-data")
    problem = too_large(files[0], most)
    parts = len(files) + len(texts) + 1  # one too many is named
    whole = bounded(in_utf8(request), most * len(files) + FRAME_BYTES, problem)
    try:
        with storable(files[0]):
            form = await whole.form(max_files=parts, max_fields=parts)
    except ClientDisconnect as error:
        raise BadRequestProblem("the connection was closed before the body was whole") from error
    try:
        _refuse_strays(form, (*files, *texts))
        yield form
    finally:
        await form.close()


async def first_text(request: Request, field: str) -> tuple[str | None, Request]:
    """Return the text that a form begins with, and the request to read it whole.

    None: another part comes first, or it is longer than what is looked at, or it is no form.

    Raises:
        BadRequestProblem: the body ends too early.
    """
    try:
        begun, again = await beginning(request, BEGINNING_BYTES)
    except ClientDisconnect as error:
        raise BadRequestProblem("the connection was closed before the body was whole") from error

    async def stream() -> AsyncGenerator[bytes]:
        yield begun

    async with aclosing(stream()) as chunks:
        parser = _FirstPart(in_utf8(request).headers, chunks, max_files=0)
        with suppress(_EnoughError, MultiPartException, KeyError):  # who reads it whole says so
            await parser.parse()
    name, value = next(iter(parser.items), ("", None))
    return (value if name == field and isinstance(value, str) else None), again


class _EnoughError(Exception):
    """The first part is read."""


class _FirstPart(MultiPartParser):
    """Reads the first part of a form; one that must not be a file is given `max_files=0`."""

    def on_part_end(self) -> None:
        super().on_part_end()
        raise _EnoughError


def _refuse_strays(form: FormData, known: Sequence[str]) -> None:
    """Refuse what would be ignored: a misspelt part would be missing without a word."""
    names = [name for name, _ in form.multi_items()]
    wrong = [
        ErrorDetail("no part of this name is read", field=n, code=Code.UNKNOWN)
        for n in names
        if n not in known
    ]
    wrong += [
        ErrorDetail("given twice", field=n, code=Code.REPEATED) for n in known if names.count(n) > 1
    ]
    if wrong:
        parts = ", ".join(f"`{name}`" for name in known)
        raise InvalidProblem(f"the form's parts are {parts}, each at most once", wrong)


def too_large(field: str, most: int) -> TooLargeProblem:
    """Return the refusal of a file that is longer than `most` bytes."""
    return TooLargeProblem(
        f"`{field}` has more than {most} bytes",
        [ErrorDetail(f"more than {most} bytes", field=field, code=Code.TOO_LARGE)],
    )


def file_part(form: FormData, field: str) -> BinaryIO:
    """Return a file of the form.

    Raises:
        InvalidProblem: there is none of this name, or it is no file.
    """
    return upload_part(form, field).file


def upload_part(form: FormData, field: str) -> UploadFile:
    """Return a file of the form with its name.

    Raises:
        InvalidProblem: there is none of this name, or it is no file.
    """
    part = form.get(field)
    if not isinstance(part, UploadFile):
        message = "missing" if part is None else "not a file: the part has no filename"
        code = Code.MISSING if part is None else Code.WRONG_TYPE
        fault = ErrorDetail(message, field=field, code=code)
        raise InvalidProblem(f"`{field}` is {message}", [fault])
    return part


async def json_part(form: FormData, field: str, record: type[T]) -> T:
    """Return a JSON part of the form, which may be a file of its own.

    Raises:
        InvalidProblem: it is missing, or not valid; names the field at fault.
        TooLargeProblem: it is longer than `SPEC_BYTES`.
    """
    part = form.get(field)
    if part is None:
        fault = ErrorDetail("missing", field=field, code=Code.MISSING)
        raise InvalidProblem(f"`{field}` is missing", [fault])
    text = await part.read(SPEC_BYTES + 1) if isinstance(part, UploadFile) else part
    if len(text) > SPEC_BYTES:
        raise too_large(field, SPEC_BYTES)
    return parsed(text, record, field)


async def json_body(request: Request, record: type[T]) -> T:
    """Return a body that is JSON as a whole, where it may be a form too.

    Raises:
        InvalidProblem: it is not valid; names the field at fault.
        TooLargeProblem: it is longer than `SPEC_BYTES`.
        BadRequestProblem: it ends too early.
    """
    try:
        text = await bounded(request, SPEC_BYTES, too_large("body", SPEC_BYTES)).body()
    except ClientDisconnect as error:
        raise BadRequestProblem("the connection was closed before the body was whole") from error
    return parsed(text, record)


def parsed(text: str | bytes, record: type[T], field: str = "") -> T:
    """Return a record of JSON.

    Raises:
        InvalidProblem: it is not valid; names what is at fault, under `field`.
    """
    try:
        return record.model_validate_json(text)
    except ValidationError as error:
        raise invalid_fields(_located(error, text, record).errors(), field) from error


def _located(error: ValidationError, text: str | bytes, record: type[T]) -> ValidationError:
    """Return an error that names the field: of half a character the JSON reader says no place."""
    if error.errors()[0]["type"] != "json_invalid":
        return error
    try:
        record.model_validate(json.loads(text))
    except ValidationError as located:
        return located
    except (ValueError, RecursionError):
        return error
    return error
