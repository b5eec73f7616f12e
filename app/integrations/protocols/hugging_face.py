"""Image segmentation as Hugging Face's inference API has it, for `huggingface_hub`'s client."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import ClientDisconnect

from app.errors import (
    BadRequestProblem,
    BusyProblem,
    InvalidProblem,
    NoLiveVersionProblem,
    NotFoundProblem,
    NotReadyProblem,
    StoppingProblem,
    TooLargeProblem,
    UnavailableProblem,
    UnsupportedMediaProblem,
)
from app.http.bodies import beginning, bounded
from app.http.connected import LeftProblem, while_connected
from app.http.dependencies import AppServices, Segmenter
from app.http.parameters import Digits
from app.http.problems import responses
from app.http.strays import refuse_strays
from app.inference.loaded_graphs import Choice
from app.integrations.protocols.refusals import HUGGING_FACE
from app.integrations.protocols.segments import BODY, SegmentJson, Wish, infer, read_wish
from app.keys.problems import KEY_PROBLEMS, PICTURE_PROBLEMS
from app.registry.paths import ModelName
from app.registry.schemas import MAX_NUMBER
from app.segmentation import service
from app.segmentation.admission import Admission, admitted, body_bytes
from app.segmentation.choosing import choose_for_pictures
from app.segmentation.json_pictures import most_json_bytes
from app.segmentation.signatures import LONGEST, starts_as_picture
from app.segmentation.upload import FRAME_BYTES, JSON, PostedPicture, content_type
from app.segmentation.waiting import LateProblem, answering
from app.settings import Settings

PIXEL_BYTES = 16
"""What a pixel takes until its picture is answered: picture, mask, and the segments' PNGs."""

router = APIRouter(tags=["segmentation"])


async def choose(
    request: Request,
    services: AppServices,
    caller: Segmenter,
    model: ModelName,
    version: Annotated[
        int | None,
        Query(ge=1, le=MAX_NUMBER, description="Number of its version; by default the live one."),
        Digits,
    ] = None,
) -> Choice:
    """Choose who answers, before the body is read."""
    refuse_strays(request, ("version",))
    return await choose_for_pictures(services, caller, model, version)


Chosen = Annotated[Choice, Depends(choose)]


async def admit(
    request: Request, services: AppServices, caller: Segmenter, choice: Chosen
) -> AsyncIterator[Admission]:
    """Hold a place and the body's bytes, once caller and version are known."""
    coming = body_bytes(request, services.settings.max_picture_bytes + FRAME_BYTES)
    with admitted(services, caller, choice, coming) as admission:
        yield admission


# Until the answer is out, as of /segment.
Admitted = Annotated[Admission, Depends(admit, scope="request")]


@router.post(
    HUGGING_FACE + "/{model}",
    summary="Segment a picture for Hugging Face's client",
    operation_id="hugging_face_segment",
    response_model=list[SegmentJson],
    openapi_extra=BODY,
    responses=responses(
        BadRequestProblem,
        *KEY_PROBLEMS,
        *PICTURE_PROBLEMS,
        NotFoundProblem,
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
async def segment(
    request: Request, services: AppServices, choice: Chosen, admission: Admitted
) -> Response:
    """Return a mask for every class that the picture shows, background among them.

    `InferenceClient(base_url=".../hf/default").image_segmentation(picture)` posts the picture's
    file, or JSON with the file in base64 where it has parameters. A body that begins as a picture
    is one, whatever its content type. `Accept` is passed over.

    Limits, room, deadline and keys are those of `/segment`. A problem has an `error` too, its
    `detail` once more: this client tells of it.
    """
    settings = services.settings
    async with answering(admission.deadline):
        wish = await _wish(request, settings)
        count = partial(service.pixels, [wish.picture], settings.max_pixels)
        pixels = await while_connected(request, services.inference.in_thread(count))
        admission.hold(0, PIXEL_BYTES * pixels)
        work = infer(services.inference, choice, wish, settings.max_pixels)
        served, body = await while_connected(request, work)
    headers = {
        "X-Sats-Model": served.exported.model,
        "X-Sats-Version": str(served.exported.number),
    }
    return Response(body, media_type=JSON, headers=headers)


async def _wish(request: Request, settings: Settings) -> Wish:
    """Read the picture; a body that begins as one is one, whatever its content type."""
    most, is_json = settings.max_picture_bytes, content_type(request) == JSON
    problem = TooLargeProblem(f"the picture has more than {most} bytes")
    longest = most_json_bytes(most) + FRAME_BYTES if is_json else most
    try:
        first, whole = await beginning(bounded(request, longest, problem), LONGEST)
        if starts_as_picture(first):
            wish = Wish(PostedPicture("picture", await whole.body()))
        elif is_json:
            wish = read_wish(await whole.body())
        else:
            raise UnsupportedMediaProblem(
                "post a picture's file (PNG, JPEG, WebP, BMP or TIFF), or JSON with `inputs`"
            )
    except ClientDisconnect as error:
        raise LeftProblem("the connection was closed before the body was whole") from error
    if len(wish.picture.data) > most:
        raise problem
    return wish
