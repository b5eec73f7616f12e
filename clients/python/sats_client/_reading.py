"""JSON of the service into records: what they do not name is passed over."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from sats_client.errors import BadAnswer

R = TypeVar("R")

READ_FROM = "read_from"
"""Metadata of a record's field: the names that services of several times give it, newest first."""


def read(kind: type[R], value: Any) -> R:
    """Return a record of a JSON object.

    Raises:
        BadAnswer: the object is no such record, so it is no SATS service that answers, or one of
            another time.
    """
    try:
        made: R = _record(kind, value)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadAnswer(f"the answer is no {kind.__name__} as this client knows it") from error
    return made


def _record(kind: Any, value: Any) -> Any:
    found = {}
    for name, keys, hint, needed in _fields(kind):
        key = next((one for one in keys if one in value), keys[0])
        if needed or key in value:
            found[name] = _value(hint, value[key])
    return kind(**found)


@cache
def _fields(kind: Any) -> list[tuple[str, Sequence[str], Any, bool]]:
    hints = get_type_hints(kind)
    return [
        (
            one.name,
            one.metadata.get(READ_FROM, [one.name.removesuffix("_")]),  # `class_` is `class`
            hints[one.name],
            one.default is MISSING and one.default_factory is MISSING,
        )
        for one in fields(kind)
        if one.init and not one.name.startswith("_")
    ]


def _value(hint: Any, value: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        return tuple(_value(inner[0], one) for one in value)
    if origin is Mapping:
        return {key: _value(inner[1], one) for key, one in value.items()}
    if is_dataclass(hint):
        return _record(hint, value)
    if hint is datetime:
        return datetime.fromisoformat(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is not Any and not isinstance(value, hint):
        raise TypeError(f"{value!r} is no {hint.__name__}")
    return value


def _one_of(hints: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in hints:
        return None
    for hint in hints:
        if isinstance(hint, type) and issubclass(hint, Enum):
            known = {one.value: one for one in hint}
            return known.get(value) or _value(str, value)  # one of a later service stays a text
    return _value(next(hint for hint in hints if hint is not type(None)), value)
