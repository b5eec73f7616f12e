"""`/login` and `/logout`: an API key for a session of the browser."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.db import read_session, utc_now
from app.errors import ForbiddenProblem, Problem, TooLargeProblem, UnauthorizedProblem
from app.http.bodies import bounded, in_utf8
from app.http.dependencies import AppServices, identify
from app.http.keyless import OWN_SITES
from app.http.services import Services
from app.http.sessions import COOKIE, SESSION_SECONDS, make_session, session_holder
from app.keys.service import any_key, check_end, digest
from app.web.attempts import Attempts
from app.web.rendering import page
from app.web.visitors import PageRoute

MAX_BODY = 16 * 1024
_OWN_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f]*")

router = APIRouter(include_in_schema=False, route_class=PageRoute)


def own_path(asked: str) -> str:
    """Return where to go after the login: a path of ours, else home."""
    return asked if _OWN_PATH.fullmatch(asked) else "/"


@router.get("/login")
def login_page(
    request: Request,
    services: AppServices,
    asked: Annotated[str | None, Query(alias="next", max_length=2000)] = None,
) -> Response:
    """Ask for a key; where none was ever made there is nothing to ask for.

    Who followed a link of another site came without the cookie: the page looks whether it is there.
    """
    wanted = own_path(asked or "/")
    with read_session(services.engine) as session:
        if not any_key(session):
            return RedirectResponse(wanted, 303)
    context = {"next": wanted, "led": asked is not None, "problem": None}
    return page(request, "login.html", context)


@router.post("/login")
async def log_in(request: Request, services: AppServices) -> Response:
    """Give a browser a session for the key that it sends, and lead it where it wanted to go."""
    _check_own_page(request)
    too_large = TooLargeProblem(f"the form has more than {MAX_BODY} bytes")
    whole = bounded(in_utf8(request), MAX_BODY, too_large)
    async with whole.form(max_files=0) as form:
        key, asked = (str(form.get(name, "")) for name in ("key", "next"))
    try:
        holder = await _admitted(request, services, key.strip())
    except (UnauthorizedProblem, ForbiddenProblem) as problem:
        return _again(request, asked, problem)
    answer = RedirectResponse(own_path(asked), 303)
    answer.set_cookie(
        COOKIE,
        make_session(services.secret, holder),
        max_age=SESSION_SECONDS,
        secure=_over_https(request),
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
async def log_out(request: Request, services: AppServices) -> Response:
    """Have the browser forget its session.

    Raises:
        ForbiddenProblem: it is not our own page that asks.
    """
    session_holder(request, services.secret)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, secure=_over_https(request), httponly=True, samesite="strict")
    return answer


async def _admitted(request: Request, services: Services, key: str) -> str:
    """Return the digest of a key that works now.

    Raises:
        UnauthorizedProblem: it does not.
        TooManyAttemptsProblem: too many did not.
    """
    attempts: Attempts = request.app.state.login_attempts
    address = request.client.host if request.client else ""
    attempts.check(address)
    try:
        caller = await identify(request, services, key)
        check_end(caller, utc_now())
    except UnauthorizedProblem:
        attempts.failed(address)
        raise
    return digest(services.secret, key)


def _again(request: Request, asked: str, problem: Problem) -> Response:
    context = {"next": own_path(asked), "led": False, "problem": problem}
    return page(request, "login.html", context, problem.status)


def _check_own_page(request: Request) -> None:
    """Check that a form was sent by our own page: nobody is logged in or out by another site.

    Raises:
        ForbiddenProblem: it was not.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:  # old browsers, and plain HTTP that is not of this machine
        origin = request.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    else:
        foreign = site not in OWN_SITES
    if foreign:
        raise ForbiddenProblem("the form was sent by a page of another site")


def _over_https(request: Request) -> bool:
    # A proxy says so; what a client says of itself alone can make its own cookie stricter only.
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
