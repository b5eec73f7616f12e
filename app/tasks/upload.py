"""The body of `POST /tasks`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Request

from app.dependencies import AppServices, Submitter
from app.keys.service import Caller, check_model
from app.multipart import file_part, json_part, read_form
from app.tasks.schemas import TaskSpec


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
    request: Request, services: AppServices, caller: Submitter
) -> AsyncIterator[Upload]:
    """Read the two parts; the data set goes to a temporary file as it comes in."""
    async with read_form(request, ["dataset"], services.settings.max_upload_bytes) as form:
        spec = await json_part(form, "spec", TaskSpec)
        check_model(caller, spec.model)
        yield Upload(caller, spec, file_part(form, "dataset"))


PostedUpload = Annotated[Upload, Depends(read_upload, scope="function")]
