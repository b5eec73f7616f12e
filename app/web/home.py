"""`/`: what is live, what runs, what waits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app.admin.service import describe_models, get_model, list_models
from app.db import AliasMove, Version
from app.dependencies import ReadSession
from app.registry.paths import ModelName
from app.registry.schemas import hex_colour
from app.registry.service import live_versions
from app.tasks.listing import Wanted, list_tasks
from app.tasks.schemas import ListedTask
from app.tasks.service import describe_listed
from app.tasks.states import ENDED
from app.tasks.visibility import visible
from app.web.curves import curves
from app.web.rendering import page
from app.web.states import UNENDED, shown
from app.web.visitors import Anybody, PageRoute, SeesVersions, Visitor

MOST_MODELS = 12
MOST_ACTIVE = 20
MOST_ENDED = 6

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True)
class LiveModel:
    """A model as its live version makes it.

    Attributes:
        name: of the model.
        versions: how many it has.
        number: of the live version; None before the first.
        since: when it went live.
        scores: of the live version; empty where it was never scored.
        classes: name, colour and IoU of each, background left out.
    """

    name: str
    versions: int
    number: int | None
    since: datetime | None
    scores: Mapping[str, float | None]
    classes: Sequence[tuple[str, str, float | None]]


@router.get("/")
def home(request: Request, visitor: Anybody, session: ReadSession) -> Response:
    """Show what is live, and what runs or waits."""
    if not visitor.sees_tasks:
        return RedirectResponse("/try", 303)
    models = _models(session, visitor) if visitor.sees_versions else []
    sees = visible(visitor.caller)
    active = list_tasks(session, MOST_ACTIVE + 1, Wanted(states=UNENDED), visible=sees)
    ended = list_tasks(session, MOST_ENDED, Wanted(states=ENDED), visible=sees)
    return page(
        request,
        "home.html",
        {
            "models": models[:MOST_MODELS],
            "more_models": len(models) - MOST_MODELS,
            "active": _in_turn(describe_listed(session, active[:MOST_ACTIVE])),
            "more_active": len(active) > MOST_ACTIVE,
            "ended": describe_listed(session, ended),
            "shown": shown,
        },
    )


@router.get("/ui/models/{model}/curves")
def model_curves(
    request: Request, _visitor: SeesVersions, session: ReadSession, model: ModelName
) -> Response:
    """Return a model's chart, to be put into a page."""
    found = curves(session, get_model(session, model))
    return page(request, "curves.html", {"model": model, "curves": asdict(found)})


def _in_turn(tasks: Sequence[ListedTask]) -> list[ListedTask]:
    """Return what runs, then what waits in the order in which it will start."""
    return sorted(tasks, key=lambda task: (task.queue_place or 0, task.created_at))


def _models(session: Session, visitor: Visitor) -> list[LiveModel]:
    reached = [one for one in list_models(session) if visitor.caller.reaches(one.name)]
    columns = (Version.classes, Version.scores, AliasMove.moved_at)
    live = {row.name: row for row in session.execute(live_versions(*columns))}
    found = []
    for one in describe_models(session, reached):
        row = live.get(one.name)
        scores = row.scores if row else {}
        iou = scores.get("iou") or {}
        classes = [
            (entry["name"], hex_colour(entry["colour"]), iou.get(entry["name"]))
            for entry in (row.classes[1:] if row else ())
        ]
        since = row.moved_at if row else None
        found.append(LiveModel(one.name, one.versions, one.live, since, scores, classes))
    # What serves comes first, what moved last above it.
    return sorted(found, key=lambda one: one.since.timestamp() if one.since else 0, reverse=True)
