"""Reads records that another version of this software may have written."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from app.db.base import JsonObject
from app.errors import InvalidProblem
from app.errors.fields import field_errors

log = structlog.get_logger(__name__)

Stored = TypeVar("Stored", bound=BaseModel)


def read_stored(kind: type[Stored], stored: JsonObject) -> Stored:
    """Return a stored record; keys that are not known, at any depth, are dropped.

    Raises:
        pydantic.ValidationError: a value is not allowed any more.
    """
    try:
        return kind.model_validate(stored)
    except ValidationError as error:
        unknown = [found["loc"] for found in error.errors() if found["type"] == "extra_forbidden"]
        if not unknown:
            raise
        return kind.model_validate(_without(stored, unknown))


def read_spec(kind: type[Stored], stored: JsonObject) -> Stored:
    """Return what a task was posted with, to run it; unknown keys are dropped.

    Raises:
        InvalidProblem: naming every value that is not allowed any more.
    """
    try:
        return read_stored(kind, stored)
    except ValidationError as error:
        raise InvalidProblem(
            "what the task asks for is not offered any more since an upgrade: post it again",
            field_errors(error.errors(), "spec"),
        ) from error


def shown(kind: type[Stored], stored: JsonObject | None) -> Stored | None:
    """Return a stored record to show; None where there is none, or none that can be read."""
    if not stored:
        return None
    try:
        return read_stored(kind, stored)
    except ValidationError as error:
        log.warning("stored_record_unreadable", kind=kind.__name__, error=str(error))
        return None


def with_defaults(kind: type[BaseModel], stored: JsonObject) -> JsonObject:
    """Return a stored record as it is, with the defaults of what it does not say, to show it.

    Its keys come in the order of the fields, unknown ones last.
    """
    defaults = _defaults(kind).items()
    own = {name: v.copy() if isinstance(v, dict | list) else v for name, v in defaults}
    said = own | stored
    return {name: said[name] for name in kind.model_fields if name in said} | stored


@cache
def _defaults(kind: type[BaseModel]) -> JsonObject:
    """Return what a record says by default, as it is stored; none of it depends on the time."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }
    return kind.model_construct(**defaults).model_dump(mode="json", include=set(defaults))


@dataclass(frozen=True)
class ShownAs:
    """Annotation of a field that goes out as it was stored, and is described as a `kind`."""

    kind: Any

    def __get_pydantic_core_schema__(
        self, _source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Accept anything; describe a `kind`."""
        return core_schema.no_info_wrap_validator_function(
            lambda value, _validate: value,
            handler.generate_schema(self.kind),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
        )


def _without(stored: JsonObject, places: Sequence[tuple[int | str, ...]]) -> JsonObject:
    kept = deepcopy(stored)
    for *path, last in places:
        inner: Any = kept
        for step in path:
            inner = inner[step]
        del inner[last]
    return kept
