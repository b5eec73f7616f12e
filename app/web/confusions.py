"""Which classes a version takes for others, on its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.admin.confusion import ConfusedJson, confusion_of, largest
from app.admin.schemas import VersionJson
from app.db import Version
from app.errors import NotFoundProblem

FIRST, MOST = 10, 60
"""Pairs of classes that are seen at once, and those that can be unfolded."""


@dataclass(frozen=True)
class Confusions:
    """What a version takes classes for.

    Attributes:
        why: why nothing is known; None where it is.
        pictures: held-out pictures that were counted.
        compared: whether the version before was counted on them too.
        first: pairs of classes, the largest share first.
        more: those after them.
        colours: `#rrggbb` of each class.
    """

    why: str | None
    pictures: int = 0
    compared: bool = False
    first: Sequence[ConfusedJson] = ()
    more: Sequence[ConfusedJson] = ()
    colours: Mapping[str, str] = field(default_factory=dict)


def confusions_of(row: Version, version: VersionJson) -> Confusions:
    """Return what a version takes classes for.

    Args:
        row: the version, in its session.
        version: the same as it is shown.
    """
    try:
        kept = confusion_of(row)
    except NotFoundProblem as problem:
        return Confusions(problem.detail)
    colours = {entry.name: entry.color for entry in version.classes}
    pairs = largest(kept, MOST)
    compared = kept.before is not None
    return Confusions(None, kept.pictures, compared, pairs[:FIRST], pairs[FIRST:], colours)
