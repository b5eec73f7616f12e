"""`/integrations/label-studio`: what Label Studio tells, and what came of it."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy import ColumnElement, and_, or_, select, true
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
    found = list_told(session, caller, 1, *asking.names(project, model))
    if not found:
        raise asking.never_asked(project, model)
    return found[0]


def list_told(
    session: Session, caller: Caller, most: int, *which: ColumnElement[bool]
) -> list[LabelStudioProjectJson]:
    """Return what a caller is told of projects, those that changed last first.

    Args:
        session: to read with.
        caller: who asks: a project of which nothing is theirs to see is none of them.
        most: projects.
        which: conditions that they meet.
    """
    wanted = (
        select(LabelStudioProject, Task.id, Task.key_id)
        .outerjoin(Task, Task.id == LabelStudioProject.task_id)
        .where(or_(_asked_for(caller), _asked_next(caller)), *which)
        .order_by(LabelStudioProject.changed_at.desc(), LabelStudioProject.id.desc())
        .limit(most)
    )
    return [_told(caller, row, task, key_id) for row, task, key_id in session.execute(wanted)]


def _told(
    caller: Caller, row: LabelStudioProject, task: str | None, key_id: int | None
) -> LabelStudioProjectJson:
    """Return what a caller is told of a project, where the task that was made has this id."""
    if not sees(caller, row.key_id, row.model):
        return LabelStudioProjectJson.waiting(row)
    return LabelStudioProjectJson.of(row, task if sees(caller, key_id, row.model) else None)


def _asked_for(caller: Caller) -> ColumnElement[bool]:
    """Return which imports a caller sees: what `sees` says of one that is at hand."""
    if not caller.may(Scope.READ):
        return LabelStudioProject.key_id == caller.key_id
    return LabelStudioProject.model.in_(caller.models) if caller.models else true()


def _asked_next(caller: Caller) -> ColumnElement[bool]:
    return and_(LabelStudioProject.wanted, LabelStudioProject.next_key_id == caller.key_id)
