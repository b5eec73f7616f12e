"""`/admin/overview` and `/admin/models/{model}`: what there is, at a glance."""

from fastapi import APIRouter, Depends
from sqlalchemy import true

from app.db import Model
from app.errors import InvalidProblem, NotFoundProblem, UnavailableProblem
from app.http.dependencies import AppServices, Operator, ReadSession, require_to_change
from app.http.problems import responses
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope
from app.overview import service
from app.overview.schemas import ModelOverviewJson, OverviewJson
from app.processes.restarts import read_restarts
from app.registry.paths import ModelName

router = APIRouter(
    prefix="/admin",
    tags=["admin"],
    dependencies=[Depends(require_to_change(Scope.ADMIN))],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)


@router.get("/overview", summary="Everything at a glance", operation_id="overview_get")
def show_overview(services: AppServices, session: ReadSession, caller: Operator) -> OverviewJson:
    """Return every model with its live version and its tasks, and what is known of workers."""
    which = Model.name.in_(caller.models) if caller.models else true()
    return service.overview(session, which, read_restarts(services.settings.restarts_file))


@router.get(
    "/models/{model}",
    summary="A model at a glance",
    operation_id="models_get",
    responses=responses(NotFoundProblem),
)
def show_model(session: ReadSession, model: ModelName) -> ModelOverviewJson:
    """Return a model with its live version and its tasks."""
    found = service.describe(session, Model.name == model)
    if not found:
        raise NotFoundProblem(f"there is no model {model!r}")
    return found[0]
