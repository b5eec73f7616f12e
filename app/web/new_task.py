"""`/ui/tasks/new`: a zip, what is in it, and then a task."""

from pathlib import Path
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Request, Response

from app.admin.service import list_models
from app.db import read_session
from app.dependencies import AppServices, ReadSession, Services
from app.errors import Problem, problem_of
from app.registry.parents import check_start
from app.registry.schemas import MODEL_PATTERN
from app.storage import Blob
from app.tasks.schemas import TaskSpec
from app.tasks.service import check_step, class_names
from app.tasks.upload import PostedUpload
from app.web.looking import look
from app.web.rendering import page
from app.web.visitors import PageRoute, Submits
from sats_core.errors import CoreError
from sats_core.settings import OfferedMethod

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/ui/tasks/new")
def new_task_page(
    request: Request,
    visitor: Submits,
    session: ReadSession,
    services: AppServices,
    model: Annotated[str, Query(pattern=MODEL_PATTERN)] = "default",
) -> Response:
    """Ask for a zip and for what is to be learned of it."""
    models = [one.name for one in list_models(session) if visitor.caller.reaches(one.name)]
    context = {
        "models": models,
        "model": model,
        "methods": get_args(OfferedMethod),
        "default_method": TaskSpec.model_fields["method"].default,
        "most": services.settings.max_upload_bytes,
    }
    return page(request, "new_task.html", context)


@router.post("/ui/tasks/look")
def look_at_upload(
    request: Request, _visitor: Submits, services: AppServices, upload: PostedUpload
) -> Response:
    """Return, as part of a page, what a zip holds; nothing of it is kept."""
    if isinstance(upload.dataset, Blob):
        context = _seen(services, upload.spec, services.blobs.path(upload.dataset.key))
    else:
        with services.blobs.stage(upload.dataset, services.settings.max_upload_bytes) as staged:
            context = _seen(services, upload.spec, staged.path)
    return page(request, "found.html", context)


def _seen(services: Services, spec: TaskSpec, path: Path) -> dict[str, Any]:
    """Return what there is, and why it would be refused if it were posted."""
    limits = services.settings.limits
    refusal: Problem | None = None
    known: tuple[str, ...] = ()
    found = None
    try:
        with read_session(services.engine) as session:
            known = class_names(check_start(session, spec.model, spec.parent))
        found = look(path, limits, known)
        check_step(services.engine, spec, path, limits)
    except Problem as problem:
        refusal = problem
    except CoreError as error:
        refusal = problem_of(error)
    return {"found": found, "refusal": refusal, "spec": spec}
