"""Who calls: Label Studio sends a name and a password, and the password is an API key."""

import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBasic
from pydantic import TypeAdapter, ValidationError
from starlette.requests import HTTPConnection

from app.errors import UnauthorizedProblem
from app.errors.fields import invalid_fields
from app.http.dependencies import AppServices, admit, app_services, identify
from app.keys.service import Caller, Scope, check_model
from app.registry.paths import ModelName

DEFAULT = "default"
_MODEL: TypeAdapter[str] = TypeAdapter(ModelName)


class _Documented(HTTPBasic):
    """For the document alone: FastAPI would answer with a refusal of its own form."""

    async def __call__(self, request: HTTPConnection) -> None:
        """Judge nothing."""


_basic = _Documented(
    scheme_name="HTTPBasic",
    auto_error=False,
    description="An API key as the password, whatever the name; or as a bearer token.",
)


def model_of(request: Request) -> str:
    """Return the model that the path names, `default` where it names none.

    Raises:
        InvalidProblem: it is no name of a model.
    """
    name = request.path_params.get("model", DEFAULT)
    try:
        return _MODEL.validate_python(name)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise invalid_fields(found, "path.model") from error


ModelOfPath = Annotated[str, Depends(model_of)]


async def let_in(request: Request, *scopes: Scope) -> Caller:
    """Let a caller with one of `scopes` through who may use the model of the path.

    Raises:
        UnauthorizedProblem, LocalCallersOnlyProblem, ExpiredKeyProblem, RequestLimitProblem,
        ForbiddenProblem: as everywhere.
    """
    services = app_services(request)
    found = await identify(request, services, _key(request))
    admit(request, services, found, *scopes)
    check_model(found, model_of(request))
    return found


@cache
def require(*scopes: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency that lets callers with one of `scopes` (or `admin`) through."""

    async def caller(request: Request) -> Caller:
        return await let_in(request, *scopes)

    return caller


document_basic = Depends(_basic)
Predictor = Annotated[Caller, Depends(require(Scope.SEGMENT))]


async def count_underway(services: AppServices, caller: Predictor) -> AsyncIterator[None]:
    """Have the caller's request count as one under way."""
    with services.underway.one(caller):
        yield


# Until the answer is out, which is a stream.
count_one = Depends(count_underway, scope="request")

Looker = Annotated[Caller, Depends(require(Scope.SEGMENT, Scope.READ))]
Follower = Annotated[Caller, Depends(require(Scope.SUBMIT, Scope.READ))]
Trainer = Annotated[Caller, Depends(require(Scope.SUBMIT))]


def _key(request: Request) -> str | None:
    said = request.headers.get("authorization")
    if said is None:
        return None
    scheme, _, value = said.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        raise UnauthorizedProblem("send an API key as the password of HTTP basic authentication")
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UnauthorizedProblem("the basic authentication cannot be read") from error
    return decoded.partition(":")[2]
