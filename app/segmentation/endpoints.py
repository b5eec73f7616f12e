"""`/segment`: pictures in, masks out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.dependencies import AppServices, Segmenter
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
from app.keys.problems import KEY_PROBLEMS, PictureLimitProblem
from app.problems import responses
from app.segmentation import service
from app.segmentation.admission import Admitted
from app.segmentation.asking import AskedFor
from app.segmentation.choosing import Chosen
from app.segmentation.documentation import ANSWERS, BODY
from app.segmentation.negotiation import Representation, negotiate
from app.segmentation.parameters import check_parameters
from app.segmentation.schemas import SegmentationJson
from app.segmentation.upload import PostedPicture, read_pictures
from app.segmentation.waiting import answering, until, while_connected

router = APIRouter(tags=["segmentation"])


async def read_body(
    request: Request, services: AppServices, caller: Segmenter, admission: Admitted
) -> list[PostedPicture]:
    """Read the pictures."""
    settings = services.settings
    most = min(settings.max_pictures, settings.serve_queue)
    async with until(admission.deadline):
        posted = await read_pictures(request, settings.max_picture_bytes, most)
        services.rates.other_pictures(caller, len(posted))
    return posted


Posted = Annotated[list[PostedPicture], Depends(read_body)]


async def represent(
    request: Request, services: AppServices, admission: Admitted, posted: Posted
) -> Representation:
    """Choose the form of the answer, and make room for what the pictures take until then."""
    settings = services.settings
    offers = list(Representation) if len(posted) == 1 else [Representation.JSON]
    representation = negotiate(",".join(request.headers.getlist("accept")), offers)
    async with until(admission.deadline):
        counting = services.inference.in_thread(lambda: service.pixels(posted, settings.max_pixels))
        pixels = await while_connected(request, counting)
    admission.make_room(len(posted), pixels, representation)
    return representation


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
async def segment(
    request: Request,
    services: AppServices,
    choice: Chosen,
    asked: AskedFor,
    admission: Admitted,
    posted: Posted,
    representation: Annotated[Representation, Depends(represent)],
) -> Response:
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
    work = service.answer(
        services.inference, choice, posted, representation, asked, services.settings.max_pixels
    )
    async with answering(admission.deadline):
        served, body = await while_connected(request, work)
    return Response(
        body,
        media_type=str(representation.value),
        headers={
            "X-Sats-Model": served.exported.model,
            "X-Sats-Version": str(served.exported.number),
            "Vary": "Accept",
        },
    )
