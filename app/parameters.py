"""Parameters that many calls have."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator


def in_utc(time: datetime) -> datetime:
    """Take a time without a zone as UTC.

    Raises:
        ValueError: it is before the year 1 or after 9999 there.
    """
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not a time between the years 1 and 9999 in UTC") from error


Time = Annotated[datetime, AfterValidator(in_utc)]

Cursor = Annotated[
    str | None,
    Query(
        max_length=500,
        description="Read on: `next_cursor` of the page before, with the same filters.",
        examples=["WyJ0YXNrcyIsMTdd"],
    ),
]
