"""Who looks at a page, and what becomes of those who may not."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlencode

import structlog
from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import URL

from app.db import Task, is_passing
from app.errors import NotFoundProblem, Problem, UnauthorizedProblem, UnavailableProblem
from app.errors.fields import invalid_fields
from app.http.dependencies import admit, app_services, identify
from app.http.sessions import COOKIE, page_token
from app.keys.service import Caller, Scope, check_unbound
from app.keys.signing import unsigned
from app.web.rendering import page

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Visitor:
    """Who looks at a page.

    Attributes:
        caller: whose key the session stands for; nobody's where none was ever made.
        token: what the page sends with whatever changes something.
    """

    caller: Caller
    token: str

    @property
    def name(self) -> str:
        """What the page calls them."""
        return self.caller.name or "this machine"

    @property
    def has_key(self) -> bool:
        """Whether they can log out."""
        return self.caller.key_id is not None

    @property
    def segments(self) -> bool:
        """Whether they may ask the model."""
        return self.caller.may(Scope.SEGMENT)

    @property
    def submits(self) -> bool:
        """Whether they may post tasks, and see their own."""
        return self.caller.may(Scope.SUBMIT)

    @property
    def sees_tasks(self) -> bool:
        """Whether they may look at tasks."""
        return self.caller.may(Scope.SUBMIT, Scope.READ)

    @property
    def sees_versions(self) -> bool:
        """Whether they may look at models and versions."""
        return self.caller.may(Scope.READ)

    @property
    def sees_service(self) -> bool:
        """Whether they may look at what belongs to no model: keys, audit log, settings."""
        return self.sees_versions and not self.caller.models

    def may_change(self, task: Task) -> bool:
        """Whether they may cancel a task and try it again."""
        return self.administers or (self.submits and task.key_id == self.caller.key_id)

    @property
    def administers(self) -> bool:
        """Whether they may move `live` and delete."""
        return self.caller.may(Scope.ADMIN)


@cache
def visiting(*scopes: Scope) -> Callable[[Request], Coroutine[Any, Any, Visitor]]:
    """Return the dependency that lets visitors with one of these scopes (or `admin`) through."""

    async def visitor(request: Request) -> Visitor:
        services = app_services(request)
        caller = await identify(request, services, None)
        session = request.cookies.get(COOKIE, "")
        found = Visitor(caller, page_token(services.secret, session))
        request.state.visitor = found  # before it is refused: what refuses it is a page too
        admit(request, services, caller, *scopes)
        return found

    return visitor


Anybody = Annotated[Visitor, Depends(visiting(*Scope))]
Segmenting = Annotated[Visitor, Depends(visiting(Scope.SEGMENT))]
Submits = Annotated[Visitor, Depends(visiting(Scope.SUBMIT))]
SeesTasks = Annotated[Visitor, Depends(visiting(Scope.SUBMIT, Scope.READ))]
SeesVersions = Annotated[Visitor, Depends(visiting(Scope.READ))]
Administers = Annotated[Visitor, Depends(visiting(Scope.ADMIN))]


def sees_service(visitor: SeesVersions) -> Visitor:
    """Let visitors through whose key is bound to no model."""
    check_unbound(visitor.caller)
    return visitor


SeesService = Annotated[Visitor, Depends(sees_service)]


class PageRoute(APIRoute):
    """What goes wrong is told by a page; who has to log in is led there and back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint, guarded."""
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await answer(request)
            except UnauthorizedProblem:
                return _to_login(request)
            except Problem as problem:
                return problem_page(request, problem)
            except RequestValidationError as error:
                return problem_page(request, _invalid(error))
            except SQLAlchemyError as error:
                if not is_passing(error):
                    raise
                log.warning(
                    "database_unavailable", path=unsigned(request.url.path), error=str(error)
                )
                return problem_page(request, UnavailableProblem("the database does not answer", 2))

        return guarded


def _invalid(error: RequestValidationError) -> Problem:
    """Return what a page says of a wrong address: where its path is, that there is no page."""
    if any(one["loc"][0] == "path" for one in error.errors()):
        return NotFoundProblem("there is no page at this address")
    return invalid_fields(error.errors())


def problem_page(request: Request, problem: Problem) -> Response:
    """Return a problem as a page."""
    shown = page(request, "problem.html", {"problem": problem}, problem.status)
    shown.headers.update(problem.headers)
    return shown


def _to_login(request: Request) -> Response:
    asked = request.url
    part = "hx-request" in request.headers
    if part:  # the page as a whole has to go
        asked = URL(request.headers.get("hx-current-url", "/"))
    here = asked.path + (f"?{asked.query}" if asked.query else "")
    login = f"/login?{urlencode({'next': here})}"
    if part:
        return Response(status_code=401, headers={"HX-Redirect": login})
    return RedirectResponse(login, 303)
