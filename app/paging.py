"""Lists by the page: some items, and where to read on. Web-free."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, Field

from app.errors import ErrorDetail, InvalidProblem
from sats_core.limits import MAX_INT32

T = TypeVar("T")
Row = TypeVar("Row")
P = TypeVar("P", int, str)


class Page(BaseModel, Generic[T]):
    """Some of a list."""

    items: list[T] = Field(description="What the page holds, in the list's order.")
    next_cursor: str | None = Field(
        description="Give this as `cursor` to read on; null at the end of the list."
    )


@dataclass(frozen=True)
class Listing(Generic[P]):
    """A list's order: cursors name the place of the last item seen.

    A place outlives its item: a page follows another one whose last item was deleted meanwhile.

    Attributes:
        name: of the list; another one's cursors are refused.
        kind: type of a place, a number or a text.
        parse: raises ValueError for a place that cannot be.
    """

    name: str
    kind: type[P]
    parse: Callable[[P], object] | None = None

    def read(self, cursor: str | None) -> P | None:
        """Return the place that a cursor names.

        Raises:
            InvalidProblem: it is no cursor of this list.
        """
        if cursor is None:
            return None
        try:
            name, place = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
            if name != self.name or type(place) is not self.kind or not _may_be(place):
                raise _refused()
            if self.parse is not None:
                self.parse(place)
        except (ValueError, TypeError, RecursionError) as error:  # of base64 and JSON too
            raise _refused() from error
        found: P = self.kind(place)
        return found

    def cut(
        self, found: Sequence[Row], limit: int, place: Callable[[Row], P]
    ) -> tuple[Sequence[Row], str | None]:
        """Return a page and the cursor to the next one, of one row more than the page may have."""
        page = found[:limit]
        if len(found) <= limit:
            return page, None
        return page, self.cursor(place(page[-1]))

    def cursor(self, place: P) -> str:
        """Return the cursor to what follows a place."""
        said = json.dumps([self.name, place], separators=(",", ":"))
        return base64.urlsafe_b64encode(said.encode()).decode()


def _may_be(place: int | str) -> bool:
    if isinstance(place, int):
        return 0 <= place <= MAX_INT32
    return place.isascii() and place.isprintable()


def _refused() -> InvalidProblem:
    message = "no cursor of this list: give `next_cursor` of a page as it came"
    return InvalidProblem(f"query.cursor: {message}", [ErrorDetail(message, field="query.cursor")])
