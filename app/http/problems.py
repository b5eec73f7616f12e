"""How problems look over HTTP: handlers, and their part in the OpenAPI document."""

import errno
from collections.abc import Callable, Mapping
from http import HTTPMethod, HTTPStatus
from typing import Any, NamedTuple

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.db import is_passing, said_by
from app.errors import (
    TYPE_PREFIX,
    BadRequestProblem,
    BusyProblem,
    InvalidProblem,
    MethodNotAllowedProblem,
    NotFoundProblem,
    Problem,
    TooLargeProblem,
    UnauthorizedProblem,
    UnavailableProblem,
    problem_of,
)
from app.errors.fields import invalid_fields
from app.http.headers import REQUEST_ID, SECURITY_HEADERS
from app.keys.signing import unsigned
from app.storage import BlobStoreDownError
from sats_core.errors import CoreError

MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)


Responses = dict[int | str, dict[str, Any]]
"""What FastAPI takes as `responses=`."""


class Spelled(NamedTuple):
    """A refusal as it is sent."""

    status: int
    body: dict[str, Any]
    media_type: str


Spelling = Callable[[Problem, dict[str, Any]], Spelled]
"""Spells a problem, whose body it is given, for tools that know none."""


def responses(*kinds: type[Problem]) -> Responses:
    """Return the `responses=` of an operation that may raise these problems."""
    grouped: dict[int, list[type[Problem]]] = {}
    for kind in kinds:
        grouped.setdefault(kind.status, []).append(kind)
    return {status: _documented(same) for status, same in sorted(grouped.items())}


def _documented(kinds: list[type[Problem]]) -> dict[str, Any]:
    examples = {
        kind.slug: {
            "summary": kind.title,
            "value": {
                "type": TYPE_PREFIX + kind.slug,
                "title": kind.title,
                "status": kind.status,
                "detail": (kind.__doc__ or kind.title).strip(),
                "errors": [],
            },
        }
        for kind in kinds
    }
    content = {"schema": {"$ref": "#/components/schemas/ProblemJson"}, "examples": examples}
    return {
        "description": "; ".join(f"{kind.title} (`{kind.slug}`)" for kind in kinds),
        "content": {MEDIA_TYPE: content},
    }


def respond(problem: Problem, request: Request) -> JSONResponse:
    """Return the answer that a problem gives, in the form that its path speaks."""
    path = request.url.path
    # Here too, because the answer to a bug is given outside of all middleware.
    headers = SECURITY_HEADERS | {REQUEST_ID: request.state.request_id} | problem.headers
    body = problem.body() | {"instance": path, "request_id": request.state.request_id}
    spelled = Spelled(problem.status, body, MEDIA_TYPE)
    for prefix, spelling in request.app.state.spellings.items():
        if path_speaks(prefix, path):
            spelled = spelling(problem, body)
    return JSONResponse(spelled.body, spelled.status, headers, spelled.media_type)


def path_speaks(prefix: str, path: str) -> bool:
    """Return whether a path is a prefix or lies under it."""
    return path == prefix or path.startswith(prefix + "/")


def install_handlers(app: FastAPI, spellings: Mapping[str, Spelling]) -> None:
    """Make everything that goes wrong in `app` answer as a problem; under prefixes, spelled so.

    Handlers are coroutines: for a function Starlette goes to a thread and back, and a service that
    is asked too much refuses most of what comes.
    """
    app.state.spellings = spellings

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return respond(error, request)

    @app.exception_handler(CoreError)
    async def core_error(request: Request, error: CoreError) -> Response:
        return respond(problem_of(error), request)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return respond(invalid_fields(error.errors()), request)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        answer = respond(_problem_of_http(error), request)
        answer.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            answer.headers["Allow"] = ", ".join(_allowed(request))
        return answer

    @app.exception_handler(SQLAlchemyError)
    async def no_database(request: Request, error: SQLAlchemyError) -> Response:
        if not is_passing(error):
            raise error
        log.error("database_unavailable", path=unsigned(request.url.path), error=said_by(error))
        return respond(UnavailableProblem("the database does not answer", 2), request)

    @app.exception_handler(BlobStoreDownError)
    async def no_blobs(request: Request, error: BlobStoreDownError) -> Response:
        log.error("blob_store_unavailable", path=unsigned(request.url.path), error=str(error))
        return respond(UnavailableProblem("the blob store does not answer", 5), request)

    @app.exception_handler(OSError)
    async def no_files(request: Request, error: OSError) -> Response:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise error
        log.error("too_many_files", path=unsigned(request.url.path), error=str(error))
        return respond(BusyProblem("the service may open no more files", 5), request)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        request_id = request.state.request_id
        path = unsigned(request.url.path)
        log.error("unhandled_error", path=path, request_id=request_id, exc_info=error)
        answer = respond(Problem("the log of the service says more"), request)
        answer.headers["Connection"] = "close"  # the server drops it, as the exception goes on
        return answer


def _allowed(request: Request) -> list[str]:
    """Return the methods that a path knows; Starlette names those of its first route alone."""
    asked = {"type": "http", "path": request.url.path, "path_params": {}, "headers": []}
    return [
        method
        for method in HTTPMethod
        if any(
            route.matches({**asked, "method": method})[0] == Match.FULL
            for route in request.app.routes
        )
    ]


_HTTP_PROBLEMS: dict[int, type[Problem]] = {
    kind.status: kind
    for kind in (
        BadRequestProblem,
        UnauthorizedProblem,
        NotFoundProblem,
        MethodNotAllowedProblem,
        TooLargeProblem,
        InvalidProblem,
    )
}


def _problem_of_http(error: HTTPException) -> Problem:
    kind = _HTTP_PROBLEMS.get(error.status_code)
    if kind is not None:
        return kind(str(error.detail))
    plain = Problem(str(error.detail))
    plain.status = error.status_code
    plain.title = HTTPStatus(error.status_code).phrase
    plain.slug = "http"
    return plain
