"""`/ui/tasks/new`: a zip, what is in it, and then a task."""

from typing import Annotated, get_args

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.admin.service import list_models
from app.errors import Problem, problem_of
from app.errors.fields import invalid_fields
from app.http.connected import LeftProblem, while_connected
from app.http.dependencies import AppServices, ReadSession
from app.keys.service import check_model
from app.records.patterns import PICTURES
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN
from app.tasks.posted import PostedTask
from app.tasks.schemas import TaskSpec
from app.uploads.large import complete
from app.uploads.opening import uploaded
from app.uploads.service import look_into
from app.web.rendering import page
from app.web.schedule import schedule_of
from app.web.seen import opinion
from app.web.visitors import PageRoute, Segmenting, Submits
from app.workers.needs import ANY, WantedDevice
from app.workers.service import there
from sats_core.errors import CoreError
from sats_core.settings import OfferedMethod

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MOST_WORKERS = 100
"""That are named; who may take a task is told by these."""
MOST_UPLOADS = 50
"""That came in parts and can be chosen."""
LONGEST_SPEC = 16_000
"""Characters of a spec that is sent in an address."""

_Model = Annotated[str, Query(pattern=MODEL_PATTERN)]
_Upload = Annotated[str, Path(max_length=200)]


@router.get("/ui/tasks/new")
def new_task_page(
    request: Request,
    visitor: Submits,
    session: ReadSession,
    services: AppServices,
    model: _Model = "default",
    upload: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Ask for a zip, or one that was sent before, and for what is to be learned of it."""
    models = [one.name for one in list_models(session) if visitor.caller.reaches(one.name)]
    context = {
        "models": models,
        "model": model,
        "uploads": complete(session, visitor.caller.key_id, MOST_UPLOADS),
        "upload": upload,
        "methods": get_args(OfferedMethod),
        "default_method": TaskSpec.model_fields["method"].default,
        "most": services.settings.max_upload_bytes,
        "devices": get_args(WantedDevice),
        "any_device": ANY,
        "workers": there(session, MOST_WORKERS),
        "unmet_hours": services.settings.unmet_hours,
    }
    return page(request, "new_task.html", context)


@router.get("/ui/uploads/{upload}")
async def found_in_upload(
    request: Request,
    visitor: Submits,
    services: AppServices,
    upload: _Upload,
    model: _Model = "default",
) -> Response:
    """Return, as part of a page, what an upload holds, or why it cannot be told."""
    found, problem = None, None
    try:
        check_model(visitor.caller, model)
        blob = await run_in_threadpool(uploaded, services, visitor.caller, upload)
        found = await services.uploads.looks.run(look_into, services, blob, upload, model)
    except Problem as error:
        problem = error
    except CoreError as error:
        problem = problem_of(error)
    context = {
        "found": found.report if found else None,
        "classes": list(zip(found.report.classes, found.pixels, strict=True)) if found else [],
        "to_train_on": found.to_train_on if found else 0,
        "problem": problem,
        "model": model,
        "upload": upload,
    }
    return page(request, "found.html", context)


@router.get("/ui/schedule")
def schedule_part(
    request: Request,
    visitor: Submits,
    session: ReadSession,
    spec: Annotated[str, Query(max_length=LONGEST_SPEC)],
    pictures: Annotated[int, Query(ge=0, le=MAX_NUMBER)],
) -> Response:
    """Return, as part of a page, how a task with this spec would learn, or what is wrong in it."""
    schedule, problem = None, None
    try:
        wanted = PostedTask.model_validate_json(spec)
        check_model(visitor.caller, wanted.model)
        schedule = schedule_of(session, wanted, pictures)
    except Problem as error:
        problem = error
    except ValidationError as error:
        problem = invalid_fields(error.errors(include_url=False, include_input=False), "spec")
    return page(request, "schedule.html", {"schedule": schedule, "problem": problem})


@router.get("/ui/uploads/{upload}/seen")
async def seen_in_upload(
    request: Request,
    visitor: Submits,
    _segments: Segmenting,
    services: AppServices,
    upload: _Upload,
    pictures: Annotated[str, Query(pattern=PICTURES)],
    model: _Model = "default",
) -> Response:
    """Return, as part of a page, what the live version sees where the upload has new classes.

    The pictures count as if the visitor had sent them to be segmented.
    """
    seen, problem = None, None
    positions = [int(part) for part in pictures.split(",")]
    try:
        check_model(visitor.caller, model)
        blob = await run_in_threadpool(uploaded, services, visitor.caller, upload)
        with services.underway.one(visitor.caller):
            services.rates.named_pictures(visitor.caller, len(positions))
            seen = await while_connected(request, opinion(services, blob, model, positions))
    except LeftProblem:
        raise
    except Problem as error:
        problem = error
    except CoreError as error:
        problem = problem_of(error)
    return page(request, "seen.html", {"seen": seen, "problem": problem, "model": model})
