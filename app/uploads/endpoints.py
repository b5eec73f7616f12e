"""`/uploads`: send a zip, look at what is in it, and then make a task of it, or not."""

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import JSONResponse

from app.db import present, write_session
from app.errors import (
    BadRequestProblem,
    BusyProblem,
    DiskFullProblem,
    IdempotencyKeyReusedProblem,
    InvalidDatasetProblem,
    InvalidProblem,
    TooLargeProblem,
    UnavailableProblem,
    UnsupportedMediaProblem,
)
from app.http.dependencies import AppServices, Submitter, require
from app.http.problems import Responses, responses
from app.http.services import Services
from app.http.strays import refuse_undeclared
from app.idempotency.once import OnceWithin, Within, replayed
from app.keys.problems import KEY_PROBLEMS, ByteLimitProblem, UploadLimitProblem
from app.keys.service import Caller, Scope, check_model
from app.records.patterns import PICTURES
from app.registry.schemas import MODEL_PATTERN
from app.storage import Blob
from app.storage.references import lock_blobs
from app.tasks.disk import check_room
from app.uploads.large import keep
from app.uploads.large_schemas import LargeUploadJson, LargeUploadWish
from app.uploads.opening import uploaded
from app.uploads.parts import begin
from app.uploads.posted import BODY, PostedUpload
from app.uploads.problems import UploadUnfinishedProblem
from app.uploads.schemas import UploadBytes, UploadJson, UploadLinks, UploadReport
from app.uploads.service import draw, look_into
from app.uploads.staging import staged
from app.uploads.tokens import Upload, UploadGoneProblem, lifetime, make_token, same_end

router = APIRouter(
    prefix="/uploads",
    tags=["tasks"],
    dependencies=[Depends(require(Scope.SUBMIT)), Depends(refuse_undeclared)],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)

_CREATED: Responses = {
    201: {"description": "Stored; `expires_at` says until when.", **replayed(201)[201]},
    202: {
        "description": "To JSON: announced. `missing` says where to send its parts.",
        "model": LargeUploadJson,
        "headers": {"Location": {"description": "Where it stands.", "schema": {"type": "string"}}},
    },
}
_SHEET: Responses = {
    200: {
        "description": "A PNG: four pictures in a row, each class in its colour.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_LOOK = responses(InvalidDatasetProblem, UploadGoneProblem, UploadUnfinishedProblem, BusyProblem)


@router.post(
    "",
    status_code=201,
    summary="Send a zip before there is a task",
    operation_id="uploads_create",
    openapi_extra=BODY,
    response_model=UploadJson,
    responses=_CREATED
    | responses(
        BadRequestProblem,
        TooLargeProblem,
        UnsupportedMediaProblem,
        ByteLimitProblem,
        UploadLimitProblem,
        DiskFullProblem,
        InvalidProblem,
        IdempotencyKeyReusedProblem,
    ),
)
def send(
    services: AppServices,
    caller: Submitter,
    file: PostedUpload,
    once_within: OnceWithin,
) -> UploadJson | Response:
    """Store a zip for half an hour, so that it can be looked at before a task is made of it.

    `POST /tasks` takes the answer's `upload` in place of a file: a spec that is refused need not
    send the pictures again. What no task is made of is removed. The same bytes under the same
    Idempotency-Key are answered with the same `upload`, while it is good.

    What is large is announced by JSON instead, and sent in parts, which may be sent again one by
    one; with a bucket they go there, past the API. Who announces the same `sha256` and `bytes`
    again is answered with the upload that was begun; no Idempotency-Key is read of it.
    """
    if isinstance(file, LargeUploadWish):
        told = begin(services, caller, file)
        headers = {"Location": told.links.parts}
        return JSONResponse(told.model_dump(mode="json"), 202, headers)
    check_room(services.settings)
    upload = _stored(services, caller, file, once_within)
    token = make_token(services.secret, upload, caller.key_id)
    return UploadJson(
        upload=token,
        sha256=upload.blob.key,
        bytes=upload.blob.size,
        expires_at=datetime.fromtimestamp(upload.ends, UTC),
        links=UploadLinks(self=f"/uploads/{token}", tasks="/tasks"),
    )


def _stored(services: Services, caller: Caller, file: BinaryIO, once_within: Within) -> Upload:
    """Store a zip, and keep it for as long as its token is good."""
    with ExitStack() as stack:
        most = services.settings.max_upload_bytes
        stored = stack.enter_context(staged(services.blobs, "dataset", file, most))
        stored.send()
        session = stack.enter_context(write_session(services.engine))
        lock_blobs(session, [stored.blob.key])
        once = once_within(session)
        before = once.before(UploadBytes(sha256=stored.blob.key))
        stored.confirm()
        now = present(session)
        ends = int(now.timestamp()) + lifetime(services.settings.gc_grace_seconds)
        if before is not None:
            ends = same_end(before, now)
        keep(session, caller.key_id, stored.blob, datetime.fromtimestamp(ends, UTC))
        once.made(str(ends))
        stored.publish()  # the second time too: what was kept may have been given up
    return Upload(stored.blob, ends)


Token = Annotated[str, Path(max_length=200, description="`upload` of the answer to the post.")]


def _uploaded(services: AppServices, caller: Submitter, upload: Token) -> Blob:
    return uploaded(services, caller, upload)


Uploaded = Annotated[Blob, Depends(_uploaded)]


@router.get(
    "/{upload}",
    summary="Look at what is in an upload",
    operation_id="uploads_get",
    responses=_LOOK | responses(TooLargeProblem),
)
async def describe(
    services: AppServices,
    caller: Submitter,
    blob: Uploaded,
    upload: Token,
    model: Annotated[
        str, Query(pattern=MODEL_PATTERN, description="The model that is to learn it.")
    ] = "default",
) -> UploadReport:
    """Return the layout, the classes, what pictures show, and what is suspect.

    Some pictures are read, not all: a task reads every one before it trains. Out of a bucket of a
    large upload only these come; their checksum was taken when it was sent, and is taken again of
    all of it when a task begins.
    """
    check_model(caller, model)
    found = await services.uploads.looks.run(look_into, services, blob, upload, model)
    return found.report


@router.get(
    "/{upload}/sheet",
    summary="See some pictures of an upload",
    operation_id="uploads_sheet",
    response_class=Response,
    responses=_LOOK | _SHEET | responses(TooLargeProblem),
)
async def sheet(
    services: AppServices,
    blob: Uploaded,
    pictures: Annotated[
        str,
        Query(
            pattern=PICTURES,
            description="Positions of the pictures, as `sheet` of the upload's report has them.",
        ),
    ] = "0",
) -> Response:
    """Return a contact sheet of labelled pictures, each class in its colour."""
    positions = [int(part) for part in pictures.split(",")]
    drawn = await services.uploads.looks.run(draw, services, blob, positions)
    return Response(drawn, media_type="image/png", headers={"Cache-Control": "private"})
