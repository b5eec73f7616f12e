"""`/`: what is live, what runs, what waits."""

from collections.abc import Sequence
from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import true

from app.admin.service import get_model
from app.db import Model
from app.http.dependencies import AppServices, ReadSession
from app.overview.service import LiveModel, live_models, workers
from app.processes.restarts import read_restarts
from app.registry.curves import curves, learned
from app.registry.paths import ModelName
from app.tasks.listing import Wanted, list_tasks
from app.tasks.schemas import ListedTask
from app.tasks.service import describe_listed
from app.tasks.states import ENDED
from app.tasks.visibility import visible
from app.web.curves import MOST_VERSIONS, chart
from app.web.rendering import page
from app.web.states import UNENDED, shown
from app.web.visitors import Anybody, PageRoute, SeesVersions

MOST_MODELS = 12
MOST_ACTIVE = 20
MOST_ENDED = 6

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
def home(
    request: Request, visitor: Anybody, session: ReadSession, services: AppServices
) -> Response:
    """Show what is live, and what runs or waits."""
    if not visitor.sees_tasks:
        return RedirectResponse("/try", 303)
    reached = visitor.caller.models
    which = Model.name.in_(reached) if reached else true()
    models = live_models(session, which) if visitor.sees_versions else []
    # What moved last comes first, what serves nothing last.
    models.sort(key=_since, reverse=True)
    sees = visible(visitor.caller)
    active = list_tasks(session, MOST_ACTIVE + 1, Wanted(states=UNENDED), visible=sees)
    more_active, active = len(active) > MOST_ACTIVE, active[:MOST_ACTIVE]
    ended = list_tasks(session, MOST_ENDED, Wanted(states=ENDED), visible=sees)
    told = describe_listed(session, [*active, *ended])
    restarts = read_restarts(services.settings.restarts_file)
    return page(
        request,
        "home.html",
        {
            "models": models[:MOST_MODELS],
            "workers": workers(session, which, restarts) if visitor.sees_versions else None,
            "more_models": len(models) - MOST_MODELS,
            "active": _in_turn(told[: len(active)]),
            "more_active": more_active,
            "ended": told[len(active) :],
            "shown": shown,
        },
    )


@router.get("/ui/models/{model}/curves")
def model_curves(
    request: Request, _visitor: SeesVersions, session: ReadSession, model: ModelName
) -> Response:
    """Return a model's chart, to be put into a page."""
    found = get_model(session, model)
    points = curves(session, [found], MOST_VERSIONS)[found.id]
    drawn = chart(points, learned(session, found))
    return page(request, "curves.html", {"model": model, "curves": asdict(drawn)})


def _in_turn(tasks: Sequence[ListedTask]) -> list[ListedTask]:
    """Return what runs, then what waits: the next task of each model first."""
    return sorted(tasks, key=lambda task: (task.queue_place or 0, task.created_at))


def _since(model: LiveModel) -> float:
    return model.live.since.timestamp() if model.live else 0.0
