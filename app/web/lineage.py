"""Lineages as a drawing: a column of dots beside a list of versions, joined by lines."""

from collections.abc import Sequence
from dataclasses import dataclass


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


def _free(waited: list[int | None]) -> int:
    if None not in waited:
        waited.append(None)
    return waited.index(None)
