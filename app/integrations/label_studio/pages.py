"""`/ui/label-studio`: what became of the projects that models learn from."""

from fastapi import APIRouter, Request, Response

from app.db import ProjectState
from app.http.dependencies import AppServices, ReadSession
from app.integrations.label_studio.training import list_told
from app.web.rendering import page
from app.web.visitors import PageRoute, SeesTasks

MOST = 100
"""Projects that are shown, those that changed last."""
STATES = {
    ProjectState.NEVER: ("No training asked for", "queued"),
    ProjectState.WAITING: ("Waiting", "queued"),
    ProjectState.FETCHING: ("Fetching", "running"),
    ProjectState.QUEUED: ("A task was made", "live"),
    ProjectState.NOTHING_NEW: ("Nothing new", "cancelled"),
    ProjectState.FAILED: ("Failed", "failed"),
}
"""What a state is called, and the mark that it has."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/ui/label-studio")
def label_studio_page(
    request: Request, visitor: SeesTasks, session: ReadSession, services: AppServices
) -> Response:
    """List the imports of projects that the visitor's key sees."""
    context = {
        "projects": list_told(session, visitor.caller, MOST),
        "states": STATES,
        "configured": services.settings.label_studio_url is not None,
    }
    return page(request, "label_studio.html", context)
