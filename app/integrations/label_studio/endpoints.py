"""`/integrations/label-studio`: an ML backend of Label Studio."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.types import Send

from app.db import Model, Version
from app.errors import (
    BadRequestProblem,
    InvalidProblem,
    NoLiveVersionProblem,
    NotFoundProblem,
    UnavailableProblem,
)
from app.http.dependencies import AppServices, ReadSession
from app.http.problems import responses
from app.integrations.label_studio.asked import Asked, read_asked
from app.integrations.label_studio.bodies import read_body
from app.integrations.label_studio.calling import (
    Looker,
    ModelOfPath,
    Predictor,
    count_one,
    document_basic,
)
from app.integrations.label_studio.documentation import (
    BODY,
    MODEL,
    PREDICT,
    PREFIX,
    LabelStudioMissingProblem,
    check_configured,
)
from app.integrations.label_studio.labelling import LabellingError, read_labelling
from app.integrations.label_studio.schemas import (
    LabelStudioHealthJson,
    LabelStudioPredictionsJson,
    LabelStudioSetupJson,
    LabelStudioVersionsJson,
    version_name,
)
from app.keys.problems import KEY_PROBLEMS
from app.segmentation.admission import deadline_of
from app.segmentation.choosing import choose_for_pictures
from app.segmentation.waiting import answering

MOST_VERSIONS = 100

router = APIRouter(
    prefix=PREFIX,
    tags=["segmentation"],
    dependencies=[document_basic],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)


@router.get("/health", summary="Is the backend there", operation_id="label_studio_health")
@router.get(
    "/{model}/health",
    summary="Is the backend of a model there",
    operation_id="label_studio_model_health",
    openapi_extra=MODEL,
)
async def health(_caller: Looker) -> LabelStudioHealthJson:
    """Answer; asks nobody but who calls."""
    return LabelStudioHealthJson()


@router.post(
    "/setup",
    summary="Name the live version for Label Studio",
    operation_id="label_studio_setup",
    openapi_extra=BODY,
    responses=responses(LabelStudioMissingProblem),
)
@router.post(
    "/{model}/setup",
    summary="Name a model's live version for Label Studio",
    operation_id="label_studio_model_setup",
    openapi_extra=MODEL | BODY,
    responses=responses(LabelStudioMissingProblem),
)
async def setup(
    services: AppServices, _caller: Predictor, model: ModelOfPath
) -> LabelStudioSetupJson:
    """Say which version is live; no model is loaded for it, and what comes along is not read.

    Label Studio asks before every batch, and skips tasks that have predictions of this version.
    """
    check_configured(services)
    known = services.live.recall(model)
    if known is None:
        try:
            known = await run_in_threadpool(services.live.find, model)
        except (NotFoundProblem, NoLiveVersionProblem):
            return LabelStudioSetupJson(model_version=version_name(model, 0))
    return LabelStudioSetupJson(model_version=version_name(model, known.number))


@router.get(
    "/versions",
    summary="List versions for Label Studio",
    operation_id="label_studio_versions",
)
@router.get(
    "/{model}/versions",
    summary="List a model's versions for Label Studio",
    operation_id="label_studio_model_versions",
    openapi_extra=MODEL,
)
def versions(session: ReadSession, _caller: Looker, model: ModelOfPath) -> LabelStudioVersionsJson:
    """Name the model's versions that were not deleted, the newest first, 100 at most."""
    numbers = session.scalars(
        select(Version.number)
        .join(Model)
        .where(Model.name == model, Version.deleted_at.is_(None))
        .order_by(Version.number.desc())
        .limit(MOST_VERSIONS)
    )
    return LabelStudioVersionsJson(versions=[version_name(model, number) for number in numbers])


class _Predictions(StreamingResponse):
    """An answer whose work ends when its client leaves."""

    async def stream_response(self, send: Send) -> None:
        """Send it."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().stream_response(send)


@router.post(
    "/predict",
    summary="Predict tasks for Label Studio",
    operation_id="label_studio_predict",
    response_model=LabelStudioPredictionsJson,
    dependencies=[count_one],
    openapi_extra=BODY,
    responses=PREDICT,
)
@router.post(
    "/{model}/predict",
    summary="Predict tasks for Label Studio with a model",
    operation_id="label_studio_model_predict",
    response_model=LabelStudioPredictionsJson,
    dependencies=[count_one],
    openapi_extra=MODEL | BODY,
    responses=PREDICT,
)
async def predict(
    request: Request, services: AppServices, caller: Predictor, model: ModelOfPath
) -> _Predictions:
    """Segment the pictures of tasks, by the live version.

    Pictures are fetched from the configured Label Studio, and from the origins that the settings
    name beside it. Only labels of the project's labelling configuration are answered: as brushes
    where a `BrushLabels` has the class, as polygons where only a `PolygonLabels` does.

    The answer has begun as soon as the version is loaded, and grows task by task, so that Label
    Studio, which waits for 100 seconds between two pieces, waits for any number of tasks. A picture
    that cannot be used has an empty result. Where trying again may help, a task has an empty list
    instead, no prediction: Label Studio asks for it again next time.
    """
    check_configured(services)
    choice = await choose_for_pictures(services, caller, model, None)
    async with answering(deadline_of(services)):
        served = await services.inference.served(choice)
    services.rates.first_picture(caller)
    asked: Asked = await read_body(request, services, read_asked)
    try:
        labelling = read_labelling(asked.label_config)
    except LabellingError as error:
        raise BadRequestProblem(str(error)) from error
    services.rates.other_pictures(caller, max(1, len(asked.tasks)))

    async def results() -> AsyncGenerator[bytes, None]:
        # They bring an HTTP client along, which a service without a Label Studio never needs.
        from app.integrations.label_studio.client import LabelStudio
        from app.integrations.label_studio.predicting import Predicting

        async with LabelStudio.opened(services.settings) as label_studio:
            predicting = Predicting(
                inference=services.inference,
                served=served,
                label_studio=label_studio,
                labelling=labelling,
                settings=services.settings,
                is_over=lambda: request.app.state.draining.begun,
            )
            async with aclosing(predicting.answer(asked.tasks)) as pieces:
                async for piece in pieces:
                    yield piece

    return _Predictions(results(), media_type="application/json")
