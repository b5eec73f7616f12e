"""`/docs`: the API's reference, made by Swagger UI out of `/openapi.json`.

Swagger UI, because it is what FastAPI's users know and the one that sends requests; its files are
this service's own, so that the page works where there is no internet.
"""

from fastapi import APIRouter, Request, Response

from app.errors import Problem
from app.keys.service import Scope
from app.web.rendering import page
from app.web.visitors import PageRoute, visiting

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/docs")
async def reference(request: Request) -> Response:
    """Show the reference to anybody; who has logged in can send requests from it."""
    try:
        await visiting(*Scope)(request)
    except Problem:
        request.state.visitor = None
    return page(request, "reference.html", {})
