"""`/try`: a picture of the visitor's own as a version sees it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.admin.service import list_models
from app.http.dependencies import ReadSession
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN
from app.web.rendering import page
from app.web.visitors import PageRoute, Segmenting

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_Number = Annotated[int | None, Query(ge=1, le=MAX_NUMBER)]


@router.get("/try")
def try_it(
    request: Request,
    visitor: Segmenting,
    session: ReadSession,
    model: Annotated[str, Query(pattern=MODEL_PATTERN)] = "default",
    version: _Number = None,
    other: _Number = None,
) -> Response:
    """Let a visitor choose a picture; the page's script asks `/segment`."""
    models = [one.name for one in list_models(session) if visitor.caller.reaches(one.name)]
    context = {"models": models, "model": model, "version": version, "other": other}
    return page(request, "try.html", context)
