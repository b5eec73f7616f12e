"""Pydantic's errors as problems that name each field."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import ErrorDetail, InvalidProblem
from app.errors.codes import code_of
from app.records.patterns import IN_WORDS
from sats_core.data.names import printable

MOST_ERRORS = 100
"""Of a request's fields that are named; a body can have as many wrong ones as it has bytes."""
_LONGEST_FIELD = 200
_BY_TYPE = {
    "extra_forbidden": "there is no such field",
    "missing": "it is needed and is not there",
    "string_pattern_mismatch": "it does not look as it should",
}
"""What pydantic says of fields as of a function's arguments, or by a regular expression."""


def invalid_fields(found: Sequence[Mapping[str, Any]], prefix: str = "") -> InvalidProblem:
    """Turn pydantic's list of errors into a problem that names each field."""
    errors = field_errors(found, prefix)
    where = ", ".join(sorted({error.field for error in errors if error.field}))
    detail = f"not valid: {where}" if where else "not valid"
    if len(found) > MOST_ERRORS:
        detail += f"; {len(found)} errors, of which the first {MOST_ERRORS} are named"
    return InvalidProblem(detail, errors)


def field_errors(found: Sequence[Mapping[str, Any]], prefix: str = "") -> tuple[ErrorDetail, ...]:
    """Return pydantic's list of errors as things at fault, their fields under `prefix`.

    Of many the first `MOST_ERRORS`. What two dependencies of a call declare is judged twice, and
    named once.
    """
    return tuple(dict.fromkeys(_field_error(one, prefix) for one in found[:MOST_ERRORS]))


def _field_error(found: Mapping[str, Any], prefix: str) -> ErrorDetail:
    parts = [str(part) for part in found["loc"]]
    if parts and parts[0] == "body":
        # Where JSON breaks off its place is a number of characters, no field.
        parts = [] if found["type"] == "json_invalid" else parts[1:]
    field = ".".join([prefix, *parts] if prefix else parts)
    pattern = found.get("ctx", {}).get("pattern")
    said = IN_WORDS.get(pattern) or _BY_TYPE.get(found["type"]) or str(found["msg"])
    message = said.removeprefix("Value error, ")
    shown = printable(field)[:_LONGEST_FIELD] or "body"
    return ErrorDetail(printable(message), field=shown, code=code_of(str(found["type"])))
