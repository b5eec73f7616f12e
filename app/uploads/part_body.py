"""The body of `PUT /uploads/{upload}/parts/{number}`: the part's bytes, as they are."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, BinaryIO

from fastapi import Depends, Path, Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.errors import BadRequestProblem, ErrorDetail, InvalidProblem, TooLargeProblem
from app.errors.codes import Code
from app.http.bodies import bounded
from app.http.dependencies import AppServices, Submitter
from app.http.parameters import Digits
from app.storage.room import storable
from app.uploads.cut import MOST_PARTS
from app.uploads.parts import size_of_part

FIELD = "body"
_PIECE = 1024 * 1024

UploadId = Annotated[
    str, Path(max_length=200, description="`upload` of the answer to the post of JSON.")
]
PartNumber = Annotated[
    int, Path(ge=1, le=MOST_PARTS, description="The part's number, from 1."), Digits
]


async def receive_part(
    request: Request, services: AppServices, caller: Submitter, upload: UploadId, number: PartNumber
) -> AsyncIterator[BinaryIO]:
    """Take a part in, to a file without a name, and check that it is as long as it is to be."""
    size = await run_in_threadpool(size_of_part, services, caller, upload, number)
    message = f"the part has more than its {size} bytes"
    fault = ErrorDetail(message, field=FIELD, code=Code.TOO_LARGE)
    whole = bounded(request, size, TooLargeProblem(message, [fault]))
    file = await run_in_threadpool(_opened, services.settings.incoming_dir)
    try:
        came = await _written(whole, file)
        if came != size:
            message = f"{came} bytes came, and the part has {size}"
            fault = ErrorDetail(message, field=FIELD, code=Code.TOO_SMALL)
            raise InvalidProblem(message, [fault])
        file.seek(0)
        yield file
    finally:
        await run_in_threadpool(file.close)


def _opened(folder: FilePath) -> BinaryIO:
    with storable(FIELD):
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)


async def _written(request: Request, file: BinaryIO) -> int:
    """Write a body to a file as it comes in; returns how many bytes came."""
    came, held = 0, bytearray()

    def write() -> None:
        with storable(FIELD):
            file.write(held)
        held.clear()

    try:
        async for chunk in request.stream():
            came += len(chunk)
            held += chunk
            if len(held) >= _PIECE:
                await run_in_threadpool(write)
    except ClientDisconnect as error:
        raise BadRequestProblem("the connection was closed before the part was whole") from error
    await run_in_threadpool(write)
    return came


PostedPart = Annotated[BinaryIO, Depends(receive_part, scope="function")]
