"""The body of `POST /tasks`, read after the caller is known and under a limit."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from app.bodies import bounded
from app.dependencies import AppServices, Submitter
from app.errors import (
    BadRequestProblem,
    InvalidProblem,
    ProblemError,
    TooLargeProblem,
    UnsupportedMediaProblem,
)
from app.keys.service import Caller
from app.problems import invalid_fields
from app.tasks.schemas import TaskSpec

FRAME_BYTES = 2 * 1024 * 1024
"""What a body may have beside the data set: the spec (at most 1 MiB) and the multipart frame."""


@dataclass(frozen=True)
class Upload:
    """What was posted.

    Attributes:
        caller: who posted it.
        spec: the spec, valid in itself.
        dataset: the zip, on disk; closed when the request ends.
    """

    caller: Caller
    spec: TaskSpec
    dataset: BinaryIO


async def read_upload(
    request: Request, held: AppServices, caller: Submitter
) -> AsyncIterator[Upload]:
    """Read the two parts; the data set goes to a temporary file as it comes in.

    FastAPI would read a body that it knows of before it asks who the caller is.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedMediaProblem("post `dataset` and `spec` as multipart/form-data")
    most = held.settings.max_upload_bytes
    problem = TooLargeProblem(
        f"the data set has more than {most} bytes",
        [ProblemError(f"more than {most} bytes", field="dataset")],
    )
    try:
        form = await bounded(request, most + FRAME_BYTES, problem).form(max_files=2, max_fields=2)
    except ClientDisconnect as error:
        raise BadRequestProblem("the connection was closed before the body was whole") from error
    try:
        yield Upload(caller, await _spec(form), _dataset(form))
    finally:
        await form.close()


PostedUpload = Annotated[Upload, Depends(read_upload, scope="function")]


async def _spec(form: FormData) -> TaskSpec:
    part = form.get("spec")
    if part is None:
        raise InvalidProblem("`spec` is missing", [ProblemError("missing", field="spec")])
    text = await part.read() if isinstance(part, UploadFile) else part
    try:
        return TaskSpec.model_validate_json(text)
    except ValidationError as error:
        raise invalid_fields(error.errors(), "spec") from error


def _dataset(form: FormData) -> BinaryIO:
    part = form.get("dataset")
    if not isinstance(part, UploadFile):
        message = "missing" if part is None else "not a file: the part has no filename"
        raise InvalidProblem(f"`dataset` is {message}", [ProblemError(message, field="dataset")])
    return part.file
