"""The body of `POST /admin/models/{model}/versions`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Request

from app.http.dependencies import Admin, AppServices
from app.http.multipart import file_part, json_part, read_form, upload_part
from app.imports.checking import CHECKPOINT, EVALUATE
from app.imports.schemas import ImportWish
from app.keys.service import Caller
from sats_core.data.names import printable

MAX_SOURCE = 200
UNNAMED = "checkpoint.zip"


@dataclass(frozen=True)
class ImportUpload:
    """What was posted.

    Attributes:
        caller: who posted it.
        wish: how to import it, valid in itself.
        source: name of the posted zip.
        files: the zips, on disk, by field; closed when the request ends.
    """

    caller: Caller
    wish: ImportWish
    source: str
    files: dict[str, BinaryIO]


async def read_import(
    request: Request, services: AppServices, caller: Admin
) -> AsyncIterator[ImportUpload]:
    """Read the parts; the zips go to temporary files as they come in."""
    fields = (CHECKPOINT, EVALUATE)
    async with read_form(request, fields, services.settings.max_upload_bytes) as form:
        wish = await json_part(form, "spec", ImportWish) if "spec" in form else ImportWish()
        checkpoint = upload_part(form, CHECKPOINT)
        files = {CHECKPOINT: checkpoint.file}
        if EVALUATE in form:
            files[EVALUATE] = file_part(form, EVALUATE)
        source = printable(checkpoint.filename or UNNAMED)[:MAX_SOURCE]
        yield ImportUpload(caller, wish, source, files)


PostedImport = Annotated[ImportUpload, Depends(read_import, scope="function")]
