"""Where `live` points there is a version, and its history has no gap."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select

from app.db import AliasMove, Model, Task, TaskState, Version
from app.doctor.finding import Check, Finding, Installation


def find_lost_aliases(installation: Installation) -> Sequence[Finding]:
    """Return the aliases that point at no version, at a deleted one, or at another model's."""
    with installation.snapshot() as session:
        rows = session.execute(
            select(AliasMove, Model.name, Version)
            .join(Model, Model.id == AliasMove.model_id)
            .outerjoin(Version, Version.id == AliasMove.version_id)
            .order_by(AliasMove.sequence)
        ).all()
    last: dict[tuple[str, str], tuple[AliasMove, Version | None]] = {
        (name, move.alias): (move, version) for move, name, version in rows
    }
    found = []
    for (name, alias), (move, version) in last.items():
        fault = None
        if version is None:
            fault = "it points at a version that there is not"
        elif version.deleted_at is not None:
            fault = f"it points at version {version.number}, which was deleted"
        elif version.model_id != move.model_id:
            fault = "it points at a version of another model"
        if fault:
            found.append(Finding("alias-lost", fault, f"alias {alias!r} of {name!r}"))
    return found


def find_gaps(installation: Installation) -> Sequence[Finding]:
    """Return the aliases whose moves are not numbered 1, 2, 3 without a gap."""
    numbers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    with installation.snapshot() as session:
        moves = select(Model.name, AliasMove.alias, AliasMove.sequence).join(
            Model, Model.id == AliasMove.model_id
        )
        for name, alias, sequence in session.execute(moves):
            numbers[name, alias].append(sequence)
    return [
        Finding("alias-gap", "moves are missing from its history", f"alias {alias!r} of {name!r}")
        for (name, alias), seen in numbers.items()
        if sorted(seen) != list(range(1, len(seen) + 1))
    ]


def find_unmoved(installation: Installation) -> Sequence[Finding]:
    """Return the tasks that ended live and whose version never was."""
    moved = select(AliasMove.id).where(AliasMove.version_id == Task.version_id)
    wanted = select(Task.id).where(Task.state == TaskState.LIVE, ~moved.exists())
    with installation.snapshot() as session:
        return [
            Finding("live-never", "it is live and `live` never pointed at its version", f"task {i}")
            for i in session.scalars(wanted.where(Task.version_id.is_not(None)))
        ]


CHECKS = (Check(find_lost_aliases), Check(find_gaps), Check(find_unmoved))
