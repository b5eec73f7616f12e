"""The body of `POST /tasks`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from app.errors import ErrorDetail, InvalidProblem
from app.errors.codes import Code
from app.http.connected import while_connected
from app.http.dependencies import AppServices, Submitter
from app.http.draining import until_the_end
from app.http.multipart import SPEC, file_part, json_part, read_form
from app.keys.service import Caller, check_model
from app.storage import Blob
from app.tasks.posted import PostedTask
from app.tasks.schemas import TaskSpec
from app.uploads.opening import named
from app.uploads.remote import FIELD
from app.uploads.tokens import gone


@dataclass(frozen=True)
class Upload:
    """What was posted.

    Attributes:
        caller: who posted it.
        spec: the spec, valid in itself.
        dataset: the zip, on disk, closed when the request ends; or an upload that is stored.
    """

    caller: Caller
    spec: TaskSpec
    dataset: BinaryIO | Blob


async def read_upload(
    request: Request, services: AppServices, caller: Submitter
) -> AsyncIterator[Upload]:
    """Read the two parts; the data set goes to a temporary file as it comes in."""
    most = services.settings.max_upload_bytes
    async with read_form(request, ["dataset"], most, ["upload", FIELD, SPEC]) as form:
        spec = await json_part(form, "spec", PostedTask)
        check_model(caller, spec.model)
        _check_one(form)
        if FIELD in form:
            with until_the_end():
                fetch = services.uploads.fetches.fetch(services.settings, str(form[FIELD]))
                file = await while_connected(request, fetch)
            try:
                yield Upload(caller, spec, file)
            finally:
                await run_in_threadpool(file.close)
        elif "upload" in form:
            before = await run_in_threadpool(_sent_before, form, services, caller)
            yield Upload(caller, spec, before)
        else:
            yield Upload(caller, spec, file_part(form, "dataset"))


def _check_one(form: FormData) -> None:
    """Check that there are not several data sets.

    Raises:
        InvalidProblem: there are.
    """
    named = [field for field in ("dataset", "upload", FIELD) if field in form]
    for other in named[1:]:
        fault = ErrorDetail(f"there is a `{named[0]}` too", field=other, code=Code.FORBIDDEN)
        raise InvalidProblem(f"post a `{named[0]}` or a `{other}`, not both", [fault])


def _sent_before(form: FormData, services: AppServices, caller: Caller) -> Blob:
    """Return what the form's `upload` stands for.

    Raises:
        UploadGoneProblem: nothing.
        UploadUnfinishedProblem: parts of it are missing.
    """
    name = form["upload"]
    if not isinstance(name, str):
        raise gone("`upload` is a file, not the name of one")
    return named(services, caller, name)


PostedUpload = Annotated[Upload, Depends(read_upload, scope="function")]
