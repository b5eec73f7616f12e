"""`/integrations/label-studio`: an ML backend of Label Studio."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.types import Send

from app.db import Model, Version, write_session
from app.dependencies import AppServices, ReadSession, Services
from app.errors import (
    BadRequestProblem,
    InvalidProblem,
    NoLiveVersionProblem,
    NotFoundProblem,
    UnavailableProblem,
)
from app.integrations.label_studio import projects
from app.integrations.label_studio.asked import Asked, Told, read_asked, read_told
from app.integrations.label_studio.bodies import read_body
from app.integrations.label_studio.calling import (
    ModelOfPath,
    Predictor,
    Trainer,
    document_basic,
)
from app.integrations.label_studio.client import LabelStudio
from app.integrations.label_studio.documentation import (
    BODY,
    MODEL,
    PREDICT,
    WEBHOOK,
    LabelStudioMissingProblem,
)
from app.integrations.label_studio.labelling import LabellingError, read_labelling
from app.integrations.label_studio.predicting import Predicting, version_name
from app.integrations.label_studio.projects import Asker
from app.integrations.label_studio.schemas import (
    LabelStudioHealthJson,
    LabelStudioPredictionsJson,
    LabelStudioProjectJson,
    LabelStudioSetupJson,
    LabelStudioToldJson,
    LabelStudioVersionsJson,
)
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Caller, Scope
from app.problems import responses
from app.registry.schemas import MAX_NUMBER
from app.segmentation.admission import deadline_of
from app.segmentation.choosing import choose_for_pictures
from app.segmentation.waiting import answering

PREFIX = "/integrations/label-studio"
START_TRAINING = "START_TRAINING"
ANNOTATED = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED")
MOST_VERSIONS = 100


def _configured(services: Services) -> None:
    if services.settings.label_studio_url is None:
        raise LabelStudioMissingProblem(
            "set SATS_LABEL_STUDIO_URL and SATS_LABEL_STUDIO_API_KEY: pictures are fetched from "
            "there alone"
        )


router = APIRouter(
    prefix=PREFIX,
    tags=["label studio"],
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
async def health(_caller: Predictor) -> LabelStudioHealthJson:
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
    _configured(services)
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
def versions(
    session: ReadSession, _caller: Predictor, model: ModelOfPath
) -> LabelStudioVersionsJson:
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
    openapi_extra=BODY,
    responses=PREDICT,
)
@router.post(
    "/{model}/predict",
    summary="Predict tasks for Label Studio with a model",
    operation_id="label_studio_model_predict",
    response_model=LabelStudioPredictionsJson,
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
    _configured(services)
    choice = await choose_for_pictures(services, caller, model, None)
    async with answering(deadline_of(services)):
        served = await services.inference.served(choice)
    asked: Asked = await read_body(request, services, read_asked)
    try:
        labelling = read_labelling(asked.label_config)
    except LabellingError as error:
        raise BadRequestProblem(str(error)) from error
    services.rates.other_pictures(caller, max(1, len(asked.tasks)))

    async def results() -> AsyncIterator[bytes]:
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


@router.post(
    "/webhook",
    summary="Hear what happened in Label Studio",
    operation_id="label_studio_webhook",
    openapi_extra=BODY,
    responses=WEBHOOK,
)
@router.post(
    "/{model}/webhook",
    summary="Hear what happened in Label Studio, for a model",
    operation_id="label_studio_model_webhook",
    openapi_extra=MODEL | BODY,
    responses=WEBHOOK,
)
async def webhook(
    request: Request, services: AppServices, caller: Trainer, model: ModelOfPath
) -> LabelStudioToldJson:
    """Note what happened; whatever comes of it, a worker does.

    `START_TRAINING` asks for a task of the project's annotations: now, or once more after the one
    that is under way. New annotations are counted where `SATS_LABEL_STUDIO_ANNOTATIONS` is set.
    Every other action is heard and forgotten.
    """
    _configured(services)
    told: Told = await read_body(request, services, read_told)
    if told.action == START_TRAINING and told.project is None:
        raise BadRequestProblem("START_TRAINING names no project")
    await run_in_threadpool(_note, services, caller, model, told)
    return LabelStudioToldJson()


def _note(services: Services, caller: Caller, model: str, told: Told) -> None:
    enough = services.settings.label_studio_annotations
    if told.project is None:
        return
    asker = Asker(caller.name, caller.key_id, caller.may(Scope.ADMIN))
    if told.action == START_TRAINING:
        with write_session(services.engine) as session:
            projects.ask(session, told.project, model, asker)
    elif told.action in ANNOTATED and told.annotations and enough:
        with write_session(services.engine) as session:
            projects.note(session, told.project, model, told.annotations, enough, asker)


@router.get(
    "/projects/{project}",
    summary="What became of a project's training",
    operation_id="label_studio_project",
    responses=responses(NotFoundProblem),
)
@router.get(
    "/{model}/projects/{project}",
    summary="What became of a model's training from a project",
    operation_id="label_studio_model_project",
    openapi_extra=MODEL,
    responses=responses(NotFoundProblem),
)
def project_state(
    session: ReadSession,
    _caller: Trainer,
    model: ModelOfPath,
    project: Annotated[
        int, Path(ge=1, le=MAX_NUMBER, description="The project's number in Label Studio.")
    ],
) -> LabelStudioProjectJson:
    """Say how far the last training is that was asked for, and what it left out."""
    return LabelStudioProjectJson.of(projects.find(session, project, model))
