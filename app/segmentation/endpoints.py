"""`/segment`: pictures in, masks out."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.dependencies import Services, app_services
from app.errors import (
    BadRequestProblem,
    BusyProblem,
    InvalidProblem,
    NoLiveVersionProblem,
    NotAcceptableProblem,
    NotFoundProblem,
    NotReadyProblem,
    TooLargeProblem,
    UnsupportedMediaProblem,
)
from app.inference.loaded_graphs import Choice, Served
from app.keys.problems import KEY_PROBLEMS, PictureLimitProblem
from app.problems import responses
from app.segmentation import service
from app.segmentation.admission import Admission, admitted, body_bytes, seen_bytes
from app.segmentation.asking import Asked, AskedFor
from app.segmentation.choosing import Chosen
from app.segmentation.documentation import ANSWERS, BODY
from app.segmentation.negotiation import Representation, negotiate
from app.segmentation.parameters import check_parameters
from app.segmentation.schemas import SegmentationJson
from app.segmentation.upload import FRAME_BYTES, PostedPicture, read_pictures
from app.segmentation.waiting import answering, while_connected

router = APIRouter(tags=["segmentation"])


@dataclass(frozen=True)
class Entry:
    """A request that was let in before its body was read.

    Attributes:
        choice: who answers.
        asked: what is asked of the answer.
        admission: what the request holds.
    """

    choice: Choice
    asked: Asked
    admission: Admission


# One dependency on top of another: FastAPI walks through everything below each that an endpoint
# names, again and again.
async def enter(request: Request, choice: Chosen, asked: AskedFor) -> AsyncIterator[Entry]:
    """Hold a place and the body's bytes, once caller, version and parameters are known.

    Raises:
        BusyProblem: they are not free now.
        TooLargeProblem: there is not so much room in all.
    """
    services = app_services(request)
    coming = body_bytes(request, services.settings.max_picture_bytes + FRAME_BYTES)
    with admitted(services, choice, coming) as admission:
        yield Entry(choice, asked, admission)


# Until the answer is out: the exit of a dependency of this scope waits for it.
Entered = Annotated[Entry, Depends(enter, scope="request")]


async def read_body(request: Request, services: Services) -> list[PostedPicture]:
    """Read the pictures, and count them for the caller."""
    settings = services.settings
    most = min(settings.max_pictures, settings.serve_queue)
    posted = await read_pictures(request, settings.max_picture_bytes, most)
    services.rates.other_pictures(request.state.caller, len(posted))
    return posted


async def answer(
    services: Services, entry: Entry, posted: Sequence[PostedPicture], accept: str
) -> tuple[Served, Representation, bytes]:
    """Choose the form of the answer, make room for what the pictures take until then, answer."""
    inference, most = services.inference, services.settings.max_pixels
    offers = list(Representation) if len(posted) == 1 else [Representation.JSON]
    representation = negotiate(accept, offers)
    pixels = await inference.in_thread(lambda: service.pixels(posted, most))
    entry.admission.make_room(len(posted), pixels, representation)
    if entry.asked.size is not None:
        lanes = len(inference.lanes)
        size, window = entry.asked.size, services.settings.serve_window
        entry.admission.hold(0, seen_bytes(len(posted), size, min(lanes, len(posted)), window))
    served, body = await service.answer(
        inference, entry.choice, posted, representation, entry.asked, most
    )
    return served, representation, body


@router.post(
    "/segment",
    dependencies=[Depends(check_parameters)],
    summary="Segment pictures",
    response_model=SegmentationJson,
    openapi_extra=BODY,
    responses=ANSWERS
    | responses(
        BadRequestProblem,
        *KEY_PROBLEMS,
        PictureLimitProblem,
        NotFoundProblem,
        NotAcceptableProblem,
        NoLiveVersionProblem,
        TooLargeProblem,
        UnsupportedMediaProblem,
        InvalidProblem,
        BusyProblem,
        NotReadyProblem,
    ),
)
async def segment(request: Request, entry: Entered) -> Response:
    """Say of every pixel which learned class it shows.

    Pictures come as files of a form, as the body itself, or in JSON as base64; the service fetches
    none from a URL. What the body begins with decides that it is a picture, not its content type.
    Pictures are answered in the order in which they came.

    EXIF orientation is applied first: masks fit the picture as people see it. Transparent pixels
    are seen over white. The live version answers unless `version` names another, a held one too.
    When the live version changes, requests are answered by the one before until the new one is
    loaded; `X-Sats-Version` says which one answered.

    Room is taken before the body is read: as many bytes as it announces, then 8 for each pixel, 10
    for an overlay and 13 for one as WebP. Where it is full the answer is 503 with `Retry-After`;
    where one request takes more than there is in all, 413. A request that is not answered by the
    deadline of the service is given up with 503, and one whose client leaves is worked for no
    longer.
    """
    services = app_services(request)
    accept = ",".join(request.headers.getlist("accept"))
    async with answering(entry.admission.deadline):
        posted = await read_body(request, services)
        work = answer(services, entry, posted, accept)
        served, representation, body = await while_connected(request, work)
    return Response(
        body,
        media_type=str(representation.value),
        headers={
            "X-Sats-Model": served.exported.model,
            "X-Sats-Version": str(served.exported.number),
            "Vary": "Accept",
        },
    )
