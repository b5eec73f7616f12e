"""What is posted is judged more strictly than what was stored; `app.records.stored` reads that."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

_OTHERS = {bool: "a truth value", str: "a text"}


class PostedNumbers(BaseModel):
    """A record in which neither `true` nor `"12"` counts as a number; JSON's `12.0` is 12."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_other_type(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = _number(cls, info.field_name or "")
        if wanted is not None and type(value) in _OTHERS:
            raise PydanticKnownError("int_type" if wanted is int else "float_type")
        return value


def check_numbers(record: type[BaseModel], posted: Mapping[str, Any]) -> None:
    """Check what was posted for another record's fields likewise.

    Raises:
        ValueError: naming the first field that should be a number.
    """
    for name, value in posted.items():
        if _number(record, name) is not None and type(value) in _OTHERS:
            raise ValueError(f"{name}: a number belongs here, not {_OTHERS[type(value)]}")


def _number(record: type[BaseModel], name: str) -> type | None:
    """Return which kind of number a field holds; None: no number, or something else beside it."""
    field = record.model_fields.get(name)
    if field is None:
        return None
    kinds = set(get_args(field.annotation) or (field.annotation,)) - {type(None)}
    return next((kind for kind in (int, float) if kinds == {kind}), None)


def _no_number(time: object) -> object:
    """Take a time as text with a date: pydantic reads `2026` as so many seconds after 1970.

    Raises:
        PydanticCustomError: it is a number, or text that is one.
    """
    if not isinstance(time, str | int | float):
        return time
    try:
        float(time)
    except (ValueError, OverflowError):
        return time
    raise PydanticCustomError(
        "datetime_parsing", "Input should be a date and a time, as 2026-11-23T08:00:00Z"
    )


WrittenOut = BeforeValidator(_no_number)
"""Of a time that comes from outside."""
