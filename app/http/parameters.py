"""Parameters that many calls have."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from app.records.posted import WrittenOut

_WHOLE = re.compile("-?[0-9]+")


def in_utc(time: datetime) -> datetime:
    """Take a time without a zone as UTC.

    Raises:
        ValueError: it is before the year 1 or after 9999 there.
    """
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not a time between the years 1 and 9999 in UTC") from error


Time = Annotated[datetime, AfterValidator(in_utc), WrittenOut]


def _digits(text: object) -> object:
    """Take a number as digits: pydantic reads `1_0`, ` 10` and `10.0` as 10 too.

    Raises:
        PydanticCustomError: it is anything else.
    """
    if isinstance(text, str) and not _WHOLE.fullmatch(text):
        raise PydanticCustomError("int_parsing", "Input should be a valid integer, in digits")
    return text


Digits = BeforeValidator(_digits)
"""Of a whole number that a URL holds."""

Cursor = Annotated[
    str | None,
    Query(
        max_length=500,
        description="Read on: `next_cursor` of the page before, with the same `sort` and filters.",
        examples=["WyJ0YXNrcyIsMTdd"],
    ),
]

Age = Annotated[
    Literal["-created_at", "created_at"],
    Query(description="By when they were made: `-created_at` the newest first."),
]
"""How a list may be sorted."""
