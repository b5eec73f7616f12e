"""`/uploads/{upload}/parts`: send a large file in parts, past the service where there is a way."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response

from app.errors import (
    BadRequestProblem,
    BusyProblem,
    DiskFullProblem,
    InvalidProblem,
    NotFoundProblem,
    TooLargeProblem,
    UnavailableProblem,
)
from app.http.dependencies import Acting, AppServices, Submitter, require
from app.http.problems import responses
from app.http.strays import refuse_undeclared
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope
from app.uploads import parts
from app.uploads.large import UploadClosedProblem, UploadUnfinishedProblem
from app.uploads.large_schemas import LargeUploadJson
from app.uploads.part_body import PartNumber, PostedPart, UploadId

router = APIRouter(
    prefix="/uploads",
    tags=["tasks"],
    dependencies=[Depends(require(Scope.SUBMIT)), Depends(refuse_undeclared)],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, NotFoundProblem, UnavailableProblem),
)

AnyUpload = Annotated[str, Path(max_length=200, description="`upload` of the answer to the post.")]

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/{upload}/parts", summary="See which parts are there", operation_id="uploads_parts")
def look(services: AppServices, caller: Submitter, upload: UploadId) -> LargeUploadJson:
    """Return where an upload stands, which parts are there, and where to send the others.

    Whoever was cut off asks here what to go on with. URLs that have expired are replaced.
    """
    return parts.look(services, caller, upload)


@router.put(
    "/{upload}/parts/{number}",
    status_code=204,
    response_class=Response,
    summary="Send a part",
    operation_id="uploads_send_part",
    openapi_extra=_BODY,
    responses=responses(BadRequestProblem, UploadClosedProblem, TooLargeProblem, DiskFullProblem),
)
def put_part(services: AppServices, upload: UploadId, number: PartNumber, file: PostedPart) -> None:
    """Store a part, in any order; one that was sent before is replaced.

    Where parts go straight into a bucket their `url` is another one; this takes them all the same.
    """
    services.blobs.parts.put(upload, number, file)


@router.post(
    "/{upload}:complete",
    status_code=202,
    summary="Have the parts put together",
    operation_id="uploads_complete",
    responses=responses(UploadUnfinishedProblem, BusyProblem),
)
def complete(services: AppServices, caller: Submitter, upload: UploadId) -> LargeUploadJson:
    """Have all parts read, counted and checksummed, which takes a while: `state` says how far.

    It may be asked for again at any time, and has to be where `state` is `open` again: the process
    that did it has ended, or `error` says what did not answer.
    """
    return parts.complete(services, caller, upload)


@router.delete(
    "/{upload}",
    status_code=204,
    response_class=Response,
    summary="Give an upload up",
    operation_id="uploads_delete",
)
def remove(services: AppServices, caller: Submitter, actor: Acting, upload: AnyUpload) -> None:
    """Remove an upload: a zip that was sent at once, or a large one and its parts.

    A task that was made of it keeps what it needs; a zip that a task was made of is that task's
    alone (404). Who sent the same bytes twice gives both up. What was given up cannot be named any
    more, whoever else has the same bytes.
    """
    parts.remove(services, caller, actor, upload)
