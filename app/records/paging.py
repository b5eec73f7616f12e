"""Lists by the page: some items in an order, and where to read on. Web-free."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, Field
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.errors import ErrorDetail, InvalidProblem
from sats_core.limits import MAX_INT32

T = TypeVar("T")
Row = TypeVar("Row")
P = TypeVar("P", int, str)
S = TypeVar("S", bound=Select[Any])

NEWEST: Final = "-created_at"
"""How most lists are sorted where nothing else is asked for."""
_NONE = "no cursor of this list: give `next_cursor` of a page as it came"
_OTHER = "a cursor of this list in another order: give the `sort` of its page, or no cursor"


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
        sort: how it is sorted; None: as it is where nothing is asked for.
    """

    name: str
    kind: type[P]
    parse: Callable[[P], object] | None = None
    sort: str | None = None

    def by(self, sort: str, own: str = NEWEST) -> "Listing[P]":
        """Return this list, sorted as is asked for; the cursors of an order are no other's."""
        return self if sort == own else replace(self, sort=sort)

    def read(self, cursor: str | None) -> P | None:
        """Return the place that a cursor names.

        Raises:
            InvalidProblem: it is no cursor of this list.
        """
        if cursor is None:
            return None
        try:
            said = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
            name, place, *sort = said
            if name == self.name and sort != self._sort:
                raise _refused(_OTHER)
            if name != self.name or type(place) is not self.kind or not _may_be(place):
                raise _refused(_NONE)
            if self.parse is not None:
                self.parse(place)
        except (ValueError, TypeError, RecursionError) as error:  # of base64 and JSON too
            raise _refused(_NONE) from error
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
        said = json.dumps([self.name, place, *self._sort], separators=(",", ":"))
        return base64.urlsafe_b64encode(said.encode()).decode()

    @property
    def _sort(self) -> list[str]:
        return [] if self.sort is None else [self.sort]


def behind(
    found: S, columns: Sequence[InstrumentedAttribute[Any]], place: Sequence[Any] | None, sort: str
) -> S:
    """Return a query sorted by columns, from behind a place on.

    Args:
        found: the query.
        columns: what is sorted by; together they tell all rows apart.
        place: their values in the last row that was seen; None: none was.
        sort: descending where it begins with a minus.
    """
    down = sort.startswith("-")
    if place is not None:
        row = columns[0] if len(columns) == 1 else tuple_(*columns)
        last = place[0] if len(columns) == 1 else tuple(place)
        found = found.where(row < last if down else row > last)
    return found.order_by(*(one.desc() if down else one.asc() for one in columns))


def _may_be(place: int | str) -> bool:
    if isinstance(place, int):
        return 0 <= place <= MAX_INT32
    return place.isascii() and place.isprintable()


def _refused(message: str) -> InvalidProblem:
    return InvalidProblem(f"query.cursor: {message}", [ErrorDetail(message, field="query.cursor")])
