"""`/integrations/label-studio`: what Label Studio tells, and what came of it."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.db import Actor, LabelStudioProject, Task, write_session
from app.errors import BadRequestProblem, InvalidProblem, NotFoundProblem, UnavailableProblem
from app.http.dependencies import AppServices, ReadSession, acting
from app.http.problems import responses
from app.http.services import Services
from app.integrations.label_studio import asking
from app.integrations.label_studio.asked import Told, read_told
from app.integrations.label_studio.bodies import read_body
from app.integrations.label_studio.calling import Follower, ModelOfPath, Trainer, document_basic
from app.integrations.label_studio.documentation import (
    BODY,
    MODEL,
    PREFIX,
    WEBHOOK,
    check_configured,
)
from app.integrations.label_studio.projects import Asker
from app.integrations.label_studio.schemas import LabelStudioProjectJson, LabelStudioToldJson
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Caller, Scope
from app.registry.schemas import MAX_NUMBER
from app.tasks.visibility import sees

START_TRAINING = "START_TRAINING"
ANNOTATED = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED")

router = APIRouter(
    prefix=PREFIX,
    tags=["tasks"],
    dependencies=[document_basic],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)


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
    check_configured(services)
    told: Told = await read_body(request, services, read_told)
    if told.action == START_TRAINING and told.project is None:
        raise BadRequestProblem("START_TRAINING names no project")
    await run_in_threadpool(_note, services, acting(request), caller, model, told)
    return LabelStudioToldJson()


def _note(services: Services, actor: Actor, caller: Caller, model: str, told: Told) -> None:
    enough = services.settings.label_studio_annotations
    most = services.settings.label_studio_waiting
    if told.project is None:
        return
    asker = Asker(actor, caller.key_id, caller.may(Scope.ADMIN))
    if told.action == START_TRAINING:
        with write_session(services.engine) as session:
            asking.ask(session, told.project, model, asker, most)
    elif told.action in ANNOTATED and told.annotations and enough:
        with write_session(services.engine) as session:
            asking.note(session, told.project, model, told.annotations, enough, asker, most)


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
    caller: Follower,
    model: ModelOfPath,
    project: Annotated[
        int, Path(ge=1, le=MAX_NUMBER, description="The project's number in Label Studio.")
    ],
) -> LabelStudioProjectJson:
    """Say how far the last training is that was asked for, and what it left out.

    A key sees the one that it has asked for itself; with scope `read` that of any.
    """
    told = told_of(session, caller, asking.find(session, project, model))
    if told is None:
        raise asking.never_asked(project, model)
    return told


def told_of(
    session: Session, caller: Caller, row: LabelStudioProject
) -> LabelStudioProjectJson | None:
    """Return what a caller is told of a project; None: nothing of it is theirs to see."""
    task = None if row.task_id is None else session.get(Task, row.task_id)
    shown = task.id if task is not None and sees(caller, task.key_id, row.model) else None
    if sees(caller, row.key_id, row.model):
        return LabelStudioProjectJson.of(row, shown)
    if row.wanted and row.next_key_id == caller.key_id:
        return LabelStudioProjectJson.waiting(row)
    return None
