"""Lineages as a drawing: a column of dots beside a list of versions, joined by lines."""

from collections.abc import Sequence
from dataclasses import dataclass

CHILDREN, ANCESTORS = 4, 5
"""That are drawn with a version, the nearest ones."""


@dataclass(frozen=True)
class Place:
    """Where a version stands in the drawing, and the lines that cross its row.

    Attributes:
        lane: its own.
        lines: from lane to lane: (from, to, part); part is `top` (from the row's upper edge to its
            middle), `bottom` (from its middle to the lower edge) or `through`.
    """

    lane: int
    lines: Sequence[tuple[int, int, str]]


def lanes(versions: Sequence[tuple[int, int | None]]) -> list[Place]:
    """Lay out versions, given with their parents, the newest first.

    A parent that is on no later row is led out of the drawing's lower edge.
    """
    waited: list[int | None] = []  # the version that each lane leads down to
    found = []
    for number, parent in versions:
        mine = [at for at, awaited in enumerate(waited) if awaited == number]
        lane = mine[0] if mine else _free(waited)
        lines = [(at, lane, "top") for at in mine]
        for at in mine:
            waited[at] = None
        lines += [(at, at, "through") for at, awaited in enumerate(waited) if awaited is not None]
        if parent is not None:
            waited[lane] = parent
            lines.append((lane, lane, "bottom"))
        found.append(Place(lane, lines))
    return found


@dataclass(frozen=True)
class Family:
    """A version among those it came of and those that came of it.

    Attributes:
        rows: numbers of versions, the newest first, each with its place.
        lanes: that the drawing has.
        more_children: that are not drawn, older ones.
        more_ancestors: likewise.
    """

    rows: Sequence[tuple[int, Place]]
    lanes: int
    more_children: int
    more_ancestors: int


def family(line: Sequence[int], children: Sequence[int]) -> Family:
    """Lay out a version between its last children and its nearest ancestors.

    Args:
        line: numbers of the versions that it was learned through, itself last.
        children: numbers of those that were learned from it, ascending.
    """
    parents = dict(zip(line[1:], line[:-1], strict=True))
    shown = [*line[-1 - ANCESTORS :], *children[-CHILDREN:]][::-1]
    drawn = lanes([(one, parents.get(one, line[-1] if one in children else None)) for one in shown])
    return Family(
        rows=list(zip(shown, drawn, strict=True)),
        lanes=lanes_of(drawn),
        more_children=max(0, len(children) - CHILDREN),
        more_ancestors=max(0, len(line) - 1 - ANCESTORS),
    )


def lanes_of(drawn: Sequence[Place]) -> int:
    """Return how many lanes a drawing has."""
    return 1 + max((place.lane for place in drawn), default=0)


def _free(waited: list[int | None]) -> int:
    if None not in waited:
        waited.append(None)
    return waited.index(None)
