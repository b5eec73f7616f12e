"""A version's number and a class's index are given once."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select

from app.db import Model, ModelClass, Version
from app.doctor.finding import Check, Finding, Installation
from sats_core.classes import BACKGROUND


def find_double_numbers(installation: Installation) -> Sequence[Finding]:
    """Return the numbers that two versions of a model have: an index forbids it, if it is whole."""
    twice = (
        select(Model.name, Version.number, func.count())
        .join(Version, Version.model_id == Model.id)
        .group_by(Model.name, Version.number)
        .having(func.count() > 1)
    )
    with installation.snapshot() as session:
        return [
            Finding(
                "number-twice",
                f"{count} versions have this number",
                f"version {number} of {name!r}",
            )
            for name, number, count in session.execute(twice)
        ]


def find_moved_classes(installation: Installation) -> Sequence[Finding]:
    """Return the versions in which a class has another index than its model gave it."""
    with installation.snapshot() as session:
        given: dict[tuple[int, str], set[int]] = defaultdict(set)
        for row in session.scalars(select(ModelClass)):
            given[row.model_id, row.called].add(row.index)
        versions = session.execute(
            select(Version.model_id, Version.number, Version.classes, Model.name).join(
                Model, Model.id == Version.model_id
            )
        ).all()
    return [
        Finding(
            "class-moved",
            f"class {entry['name']!r} has index {entry['index']}, the model gave it "
            f"{_told(given[version.model_id, entry['name']])}",
            f"version {version.number} of {version.name!r}",
        )
        for version in versions
        for entry in version.classes
        if entry["index"] != BACKGROUND
        and entry["index"] not in given[version.model_id, entry["name"]]
    ]


def _told(indices: set[int]) -> str:
    """Return indices that a name was given; several where it was retired and taught again."""
    return ", ".join(map(str, sorted(indices))) or "None"


CHECKS = (Check(find_double_numbers), Check(find_moved_classes))
