"""The Open Inference Protocol, version 2, as KServe and Triton speak it over HTTP."""

from collections.abc import AsyncIterator
from functools import partial
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import select
from starlette.requests import ClientDisconnect

from app.db import Version
from app.errors import (
    BusyProblem,
    InvalidProblem,
    NoLiveVersionProblem,
    NotFoundProblem,
    NotReadyProblem,
    TooLargeProblem,
    UnsupportedMediaProblem,
)
from app.http.bodies import bounded
from app.http.connected import LeftProblem, while_connected
from app.http.dependencies import AppServices, ReadSession, Segmenter
from app.http.services import Services
from app.integrations.protocols import answers
from app.integrations.protocols.choosing import ChosenByPath, NumberOfPath
from app.integrations.protocols.documentation import INFER, INFER_ANSWER, NUMBER, refusals
from app.integrations.protocols.refusals import OPEN_INFERENCE
from app.integrations.protocols.schemas import (
    INPUTS,
    OUTPUTS,
    LiveJson,
    ModelMetadataJson,
    ModelReadyJson,
    ServerJson,
    ServerReadyJson,
)
from app.integrations.protocols.tensors import Limits, Tensors, json_cost, read, split
from app.keys.problems import KEY_PROBLEMS, PICTURE_PROBLEMS
from app.probes import endpoints as probes
from app.registry.paths import ModelName
from app.registry.service import served_version
from app.segmentation import service
from app.segmentation.admission import Admission, admitted, announced_bytes, deadline_of
from app.segmentation.choosing import choose_version
from app.segmentation.json_pictures import most_json_bytes
from app.segmentation.upload import FRAME_BYTES
from app.segmentation.waiting import answering
from app.settings import Settings

HEADER_LENGTH = "Inference-Header-Content-Length"
BODY_COPIES = 2
"""As what a body is in memory: itself, and what is cut out of it. Of JSON see `json_cost`."""

_OF_MODEL = (*KEY_PROBLEMS, NotFoundProblem, NoLiveVersionProblem, InvalidProblem, BusyProblem)

_INFER = (
    *_OF_MODEL,
    NotReadyProblem,
    *PICTURE_PROBLEMS,
    TooLargeProblem,
    UnsupportedMediaProblem,
)

server = APIRouter(prefix=OPEN_INFERENCE, tags=["probes"])
models = APIRouter(prefix=OPEN_INFERENCE + "/models/{model}", tags=["segmentation"])


@server.get(
    "", summary="What the server speaks", operation_id="open_inference_server", responses=refusals()
)
async def describe_server() -> ServerJson:
    """Name the server and what of the Open Inference Protocol it has beside JSON."""
    return ServerJson(name="sats", version=version("sats"), extensions=["binary_tensor_data"])


@server.get(
    "/health/live",
    summary="Is the process alive",
    operation_id="open_inference_live",
    responses=refusals(),
)
async def live() -> LiveJson:
    """Answer, as `/health/live` does."""
    return LiveJson()


@server.get(
    "/health/ready",
    summary="Can the service work",
    operation_id="open_inference_ready",
    responses=refusals(NotReadyProblem),
)
def ready(request: Request, services: AppServices) -> ServerReadyJson:
    """Look at what `/health/ready` looks at."""
    probes.ready(request, services)
    return ServerReadyJson()


@models.get(
    "",
    summary="A model's tensors",
    operation_id="open_inference_model",
    responses=refusals(*_OF_MODEL),
)
@models.get(
    "/versions/{number}",
    summary="A version's tensors",
    operation_id="open_inference_version",
    openapi_extra=NUMBER,
    responses=refusals(*_OF_MODEL),
)
def describe_model(
    session: ReadSession, _caller: Segmenter, model: ModelName, number: NumberOfPath
) -> ModelMetadataJson:
    """Name a model's versions, and the tensors that it takes and gives."""
    found = served_version(session, model, number)
    of_model = select(Version.number).where(Version.model_id == found.model_id)
    there = session.scalars(of_model.where(Version.deleted_at.is_(None)).order_by(Version.number))
    return ModelMetadataJson(
        name=model,
        versions=[str(one) for one in there],
        platform="sats",
        inputs=INPUTS,
        outputs=OUTPUTS,
    )


@models.get(
    "/ready",
    summary="Can a model answer",
    operation_id="open_inference_model_ready",
    responses=refusals(*_OF_MODEL, NotReadyProblem),
)
@models.get(
    "/versions/{number}/ready",
    summary="Can a version answer",
    operation_id="open_inference_version_ready",
    openapi_extra=NUMBER,
    responses=refusals(*_OF_MODEL, NotReadyProblem),
)
async def model_ready(
    request: Request,
    services: AppServices,
    _caller: Segmenter,
    model: ModelName,
    number: NumberOfPath,
) -> ModelReadyJson:
    """Wait until the version is loaded: at most as long as pictures may take to be answered."""
    choice = await choose_version(services, model, number)
    async with answering(deadline_of(services)):
        await while_connected(request, services.inference.served(choice))
    return ModelReadyJson(name=model)


def _most_bytes(request: Request, settings: Settings) -> int:
    """Return how long a body may be: bytes are as long as pictures are, JSON is longer."""
    most = settings.max_picture_bytes
    return (most if HEADER_LENGTH in request.headers else most_json_bytes(most)) + FRAME_BYTES


async def admit(
    request: Request, services: AppServices, caller: Segmenter, choice: ChosenByPath
) -> AsyncIterator[Admission]:
    """Hold a place and the body's bytes, once caller and version are known."""
    most = _most_bytes(request, services.settings)
    coming = BODY_COPIES * announced_bytes(request, most)
    with admitted(services, caller, choice, coming) as admission:
        yield admission


# Until the answer is out, as of /segment.
Admitted = Annotated[Admission, Depends(admit, scope="request")]


@models.post(
    "/infer",
    summary="Segment tensors",
    operation_id="open_inference_infer",
    openapi_extra=INFER,
    responses=INFER_ANSWER | refusals(*_INFER),
)
@models.post(
    "/versions/{number}/infer",
    summary="Segment tensors with a version",
    operation_id="open_inference_version_infer",
    openapi_extra=INFER | NUMBER,
    responses=INFER_ANSWER | refusals(*_INFER),
)
async def infer(
    request: Request,
    services: AppServices,
    caller: Segmenter,
    choice: ChosenByPath,
    admission: Admitted,
) -> Response:
    """Say of every pixel which learned class it shows.

    `image` holds pictures of one size as RGB, `encoded` pictures' files (PNG, JPEG, WebP, BMP or
    TIFF; EXIF orientation is applied). In JSON a file is base64, as bytes it follows its length, 4
    bytes, the lowest first. `mask` has class indices at the pictures' own size; `score`, where it
    is asked for, the probability of each pixel's best class. A tensor has one shape: pictures of
    different sizes are refused, send them one by one.

    Limits, room, deadline and keys are those of `/segment`; a picture of `image` counts as many
    bytes as it has values. JSON may hold as many numbers as a picture of 512 x 512 pixels has in
    nested lists, or of 750 x 750 in a flat one, 413 beyond: send larger ones as bytes.
    """
    settings = services.settings
    async with answering(admission.deadline):
        body = await _body(request, settings)
        asked = await while_connected(request, _read(request, services, admission, body))
        services.rates.other_pictures(caller, asked.pictures)
        del body
        pixels = await while_connected(request, _pixels(services, asked))
        admission.hold(asked.pictures - 1, answers.room(asked.wanted, pixels))
        work = answers.infer(services.inference, choice, asked, settings.max_pixels)
        served, answer, length = await while_connected(request, work)
    headers = {
        "X-Sats-Model": served.exported.model,
        "X-Sats-Version": str(served.exported.number),
    }
    if length is None:
        return Response(answer, media_type="application/json", headers=headers)
    headers[HEADER_LENGTH] = str(length)
    return Response(answer, media_type="application/octet-stream", headers=headers)


async def _body(request: Request, settings: Settings) -> bytes:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaProblem("compressed bodies are not read")
    most = _most_bytes(request, settings)
    problem = TooLargeProblem(f"the body has more than {most} bytes")
    try:
        return await bounded(request, most, problem).body()
    except ClientDisconnect as error:
        raise LeftProblem("the connection was closed before the body was whole") from error


async def _read(request: Request, services: Services, admission: Admission, body: bytes) -> Tensors:
    """Read a request; what its JSON takes beside its length is held before."""
    settings = services.settings
    text, blob = split(body, request.headers.get(HEADER_LENGTH))
    admission.hold(0, await services.inference.in_thread(partial(json_cost, text)))
    limits = Limits(
        pictures=min(settings.max_pictures, settings.serve_queue),
        bytes=settings.max_picture_bytes,
        pixels=settings.max_pixels,
    )
    return await services.inference.in_thread(partial(read, text, blob, limits))


async def _pixels(services: Services, asked: Tensors) -> int:
    """Return how many pixels the pictures have once they are decoded."""
    count = partial(service.pixels, asked.files, services.settings.max_pixels)
    encoded = await services.inference.in_thread(count)
    raw = sum(int(one.shape[0] * one.shape[1]) for one in asked.raw)
    return encoded + raw
