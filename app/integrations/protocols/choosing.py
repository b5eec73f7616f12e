"""Who answers a request whose path names a model, and maybe a version of it."""

from typing import Annotated

from fastapi import Depends, Request
from pydantic import TypeAdapter, ValidationError

from app.errors.fields import invalid_fields
from app.http.dependencies import AppServices, Segmenter
from app.inference.loaded_graphs import Choice
from app.registry.paths import ModelName, Number
from app.segmentation.choosing import choose_for_pictures

_NUMBER: TypeAdapter[int] = TypeAdapter(Number)


def version_number(request: Request) -> int | None:
    """Return the number of the version that the path names, None where it names none.

    FastAPI has no path parameter that only one of an operation's two paths has.

    Raises:
        InvalidProblem: it is no number of a version.
    """
    number = request.path_params.get("number")
    if number is None:
        return None
    try:
        return _NUMBER.validate_python(number)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise invalid_fields(found, "path.number") from error


NumberOfPath = Annotated[int | None, Depends(version_number)]


async def choose(
    services: AppServices, caller: Segmenter, model: ModelName, number: NumberOfPath
) -> Choice:
    """Choose who answers, before the body is read."""
    return await choose_for_pictures(services, caller, model, number)


ChosenByPath = Annotated[Choice, Depends(choose)]
