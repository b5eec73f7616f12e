"""`/segment`: pictures in, masks out."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from app.errors import (
    BadRequestProblem,
    BusyProblem,
    InvalidProblem,
    NoLiveVersionProblem,
    NotAcceptableProblem,
    NotFoundProblem,
    NotReadyProblem,
    StoppingProblem,
    TooLargeProblem,
    UnavailableProblem,
    UnsupportedMediaProblem,
)
from app.http.connected import while_connected
from app.http.dependencies import Segmenter, app_services, let_in
from app.http.problems import responses
from app.http.services import Services
from app.inference.loaded_graphs import Choice, Served
from app.keys.problems import KEY_PROBLEMS, PICTURE_PROBLEMS
from app.keys.service import Caller, Scope
from app.segmentation import service
from app.segmentation.admission import (
    PIXEL_BYTES,
    Admission,
    admitted,
    body_bytes,
    seen_bytes,
)
from app.segmentation.asking import Asked, SegmentQuery, read_query
from app.segmentation.choosing import choose_for_pictures
from app.segmentation.direct import Direct, HoldingResponse
from app.segmentation.documentation import ANSWERS, BODY
from app.segmentation.negotiation import Representation, negotiate
from app.segmentation.schemas import SegmentationJson
from app.segmentation.upload import FRAME_BYTES, PostedPicture, read_pictures
from app.segmentation.waiting import LateProblem, answering

router = APIRouter(tags=["segmentation"], route_class=Direct)


def declared(_caller: Segmenter, _query: Annotated[SegmentQuery, Query()]) -> None:
    """Tell the document what a request brings beside its body."""


async def read_body(request: Request, services: Services, caller: Caller) -> list[PostedPicture]:
    """Read the pictures, and count them for the caller."""
    settings = services.settings
    most = min(settings.max_pictures, settings.serve_queue)
    in_thread = services.inference.in_thread
    posted = await read_pictures(request, settings.max_picture_bytes, most, in_thread)
    services.rates.other_pictures(caller, len(posted))
    return posted


async def answer(
    services: Services,
    choice: Choice,
    asked: Asked,
    admission: Admission,
    posted: Sequence[PostedPicture],
    accept: str,
) -> tuple[Served, Representation, bytes]:
    """Choose the form of the answer, make room for what the pictures take until then, answer."""
    inference, settings = services.inference, services.settings
    offers = list(Representation) if len(posted) == 1 else [Representation.JSON]
    representation = negotiate(accept, offers)
    admission.hold(len(posted) - 1, 0)
    if asked.size is not None:
        lanes = min(len(inference.lanes), len(posted))
        admission.hold(0, seen_bytes(len(posted), asked.size, lanes, settings.serve_window))

    def admit(pixels: int) -> None:
        admission.hold(0, PIXEL_BYTES[representation] * pixels)

    if len(posted) > 1:  # together, before any of them is worked for
        admit(await inference.in_thread(partial(service.pixels, posted, settings.max_pixels)))
    served, body = await service.answer(
        inference,
        choice,
        posted,
        representation,
        asked,
        settings.max_pixels,
        # On its lane, once its header is read: counting it here would take a hop to a thread.
        admit if len(posted) == 1 else lambda _: None,
    )
    return served, representation, body


@router.post(
    "/segment",
    dependencies=[Depends(declared)],
    summary="Segment pictures",
    operation_id="segment",
    response_model=SegmentationJson,
    openapi_extra=BODY,
    responses=ANSWERS
    | responses(
        BadRequestProblem,
        *KEY_PROBLEMS,
        *PICTURE_PROBLEMS,
        NotFoundProblem,
        NotAcceptableProblem,
        NoLiveVersionProblem,
        TooLargeProblem,
        UnsupportedMediaProblem,
        InvalidProblem,
        BusyProblem,
        LateProblem,
        StoppingProblem,
        UnavailableProblem,
        NotReadyProblem,
    ),
)
async def segment(request: Request) -> Response:
    """Say of every pixel which learned class it shows.

    Pictures come as files of a form, as the body itself, or in JSON as base64; the service fetches
    none from a URL. What the body begins with decides that it is a picture, not its content type.
    Pictures are answered in the order in which they came.

    EXIF orientation is applied first: masks fit the picture as people see it. Transparent pixels
    are seen over white. The live version answers unless `version` names another, a held one too.
    When the live version changes, requests are answered by the one before until the new one is
    loaded; `X-Sats-Version` says which one answered.

    Room is taken before the body is read: as many bytes as it announces. Before pictures are
    decoded, 8 more for each of their pixels, 10 for an overlay and 13 for one as WebP. Where it is
    full the answer is 503 with `Retry-After`; where one request takes more than there is in all,
    413. A request that is not answered by the deadline of the service is given up with 503, and one
    whose client leaves is worked for no longer.
    """
    services = app_services(request)
    settings = services.settings
    caller = await let_in(request, Scope.SEGMENT)
    query = read_query(request)
    asked = query.asked(settings.serve_max_size)
    choice = await choose_for_pictures(services, caller, query.model, query.version)
    accept = ",".join(request.headers.getlist("accept"))
    with ExitStack() as held:
        coming = body_bytes(request, settings.max_picture_bytes + FRAME_BYTES)
        admission = held.enter_context(admitted(services, caller, choice, coming))
        async with answering(admission.deadline):
            posted = await read_body(request, services, caller)
            work = answer(services, choice, asked, admission, posted, accept)
            served, representation, body = await while_connected(request, work)
        return HoldingResponse(
            held.pop_all(),  # until the answer is out
            content=body,
            media_type=str(representation.value),
            headers={
                "X-Sats-Model": served.exported.model,
                "X-Sats-Version": str(served.exported.number),
                "Vary": "Accept",
            },
        )
