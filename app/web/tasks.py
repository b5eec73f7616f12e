"""`/ui/tasks`: what was posted, and what became of it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app.admin.service import describe_versions, list_models
from app.db import Task, Version
from app.http.dependencies import ReadSession
from app.http.parameters import Cursor
from app.keys.service import check_model
from app.records.patterns import ANY_MODEL, NO_NUL
from app.tasks.epochs import epochs
from app.tasks.listing import TASKS, list_tasks
from app.tasks.phases import phases
from app.tasks.service import describe, describe_listed, get_task, log_of
from app.tasks.visibility import visible
from app.web.rendering import page
from app.web.states import PHASES, WORDS, Shown, narrowed, shown
from app.web.verdicts import verdict_of
from app.web.visitors import PageRoute, SeesTasks

A_PAGE = 50
LOG_LINES = 60

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/ui/tasks")
def tasks_page(
    request: Request,
    visitor: SeesTasks,
    session: ReadSession,
    model: Annotated[str, Query(pattern=ANY_MODEL)] = "",
    state: str = "",
    text: Annotated[str, Query(max_length=200, pattern=NO_NUL)] = "",
    cursor: Cursor = None,
) -> Response:
    """List tasks, the newest first: those of the visitor's key, or all that it may see."""
    if model:
        check_model(visitor.caller, model)
    which = narrowed(state, model or None, text or None)
    sees = visible(visitor.caller)
    found = list_tasks(session, A_PAGE + 1, which, TASKS.read(cursor), sees)
    listed, following = TASKS.cut(found, A_PAGE, lambda task: task.sequence)
    asked = {"model": model, "state": state, "text": text}
    kept = {name: value for name, value in asked.items() if value}
    return page(
        request,
        "tasks.html",
        {
            "tasks": describe_listed(session, listed),
            "older": urlencode(kept | {"cursor": following}) if following else None,
            "newest": urlencode(kept) if cursor else None,
            "asked": asked,
            "words": WORDS,
            "models": [one.name for one in list_models(session) if visitor.caller.reaches(one.name)]
            if visitor.sees_versions
            else [],
            "shown": shown,
        },
    )


@router.get("/ui/tasks/{task_id}")
def task_page(
    request: Request, visitor: SeesTasks, session: ReadSession, task_id: UUID
) -> Response:
    """Show a task: how far it is, or how it ended and what the gate said."""
    row = get_task(session, str(task_id), visible(visitor.caller))
    task = describe(session, row)
    of = shown(task)
    version = _made(session, row) if visitor.sees_versions else None
    log = log_of(session, row).splitlines()
    return page(
        request,
        "task.html",
        {
            "task": task,
            "of": of,
            "steps": _steps(session, row, of),
            "epochs": epochs(session, row.id),
            "version": version,
            "verdict": verdict_of(version) if version else None,
            "log": log[-LOG_LINES:],
            "cut": len(log) > LOG_LINES,
            "may_change": visitor.may_change(row),
        },
    )


def _made(session: Session, task: Task) -> Any:
    if task.version_id is None:
        return None
    version = session.get_one(Version, task.version_id)
    return describe_versions(session, task.model, [version])[0]


def _steps(session: Session, task: Task, of: Shown) -> Sequence[Mapping[str, Any]]:
    """Return the phases in their order: how long each took, and which one is the present one."""
    took: dict[str, float] = {}
    for phase in phases(session, [task.id]).get(task.id, ()):
        seconds = (phase.ended - phase.began).total_seconds()
        took[str(phase.name)] = took.get(str(phase.name), 0.0) + seconds
    present = of.phase or of.state
    return [
        {
            "name": name,
            "seconds": took.get(name),
            "look": "present" if name == present else "done" if name in took else "ahead",
        }
        for name in ("queued", *PHASES)
    ]
