"""The body of `POST /admin/models/{model}/versions`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Path, Request
from fastapi.concurrency import run_in_threadpool

from app.db import read_session
from app.http.dependencies import Admin, AppServices
from app.http.multipart import (
    SPEC,
    file_part,
    first_text,
    json_part,
    parsed,
    read_form,
    upload_part,
)
from app.http.services import Services
from app.imports.checking import CHECKPOINT, EVALUATE
from app.imports.schemas import ImportWish
from app.keys.service import Caller
from app.registry.naming import check_known
from app.registry.problems import UnknownModelProblem
from app.registry.schemas import MODEL_PATTERN
from sats_core.data.names import printable

MAX_SOURCE = 200
UNNAMED = "checkpoint.zip"


@dataclass(frozen=True)
class ImportUpload:
    """What was posted.

    Attributes:
        caller: who posted it.
        model: that gets the version.
        wish: how to import it, valid in itself.
        source: name of the posted zip.
        files: the zips, on disk, by field; closed when the request ends.
    """

    caller: Caller
    model: str
    wish: ImportWish
    source: str
    files: dict[str, BinaryIO]


async def read_import(
    request: Request,
    services: AppServices,
    caller: Admin,
    model: Annotated[
        str, Path(pattern=MODEL_PATTERN, description="The model that gets the version.")
    ],
) -> AsyncIterator[ImportUpload]:
    """Read the parts; the zips go to temporary files as they come in."""
    try:
        await run_in_threadpool(_check_known, services, caller, model)
    except UnknownModelProblem:
        # A spec before the zips tells whether they need come at all; one behind them is asked then.
        text, request = await first_text(request, SPEC)
        if text is not None and not parsed(text, ImportWish, SPEC).create:
            raise
    fields = (CHECKPOINT, EVALUATE)
    async with read_form(request, fields, services.settings.max_upload_bytes) as form:
        wish = await json_part(form, SPEC, ImportWish) if SPEC in form else ImportWish()
        checkpoint = upload_part(form, CHECKPOINT)
        files = {CHECKPOINT: checkpoint.file}
        if EVALUATE in form:
            files[EVALUATE] = file_part(form, EVALUATE)
        source = printable(checkpoint.filename or UNNAMED)[:MAX_SOURCE]
        yield ImportUpload(caller, model, wish, source, files)


def _check_known(services: Services, caller: Caller, model: str) -> None:
    with read_session(services.engine) as session:
        check_known(session, model, caller.reaches, "model")


PostedImport = Annotated[ImportUpload, Depends(read_import, scope="function")]
