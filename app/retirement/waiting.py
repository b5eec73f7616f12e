"""Why pictures of retired classes are not deleted yet. Web-free, as it decides when they are."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import RUNNING_STATES, Erasure, Task, Version
from app.registry.service import lineage, live_version

_ANEW = (
    "retire the classes once more from a version that knows them, or delete the versions that keep "
    "the pictures"
)


@dataclass(frozen=True)
class Moment:
    """What it depends on whether pictures of a model may be deleted now.

    Attributes:
        live: number of the live version; None: none is.
        line: row ids of the live version and of all that it came of.
        running: id of a task of the model that runs; None: none does. One that runs has pictures
            laid out that it would keep with its own version.
    """

    live: int | None
    line: Collection[int]
    running: str | None

    @classmethod
    def of(cls, session: Session, model_id: int) -> "Moment":
        """Return how it stands with a model."""
        live = live_version(session, model_id)
        running = select(Task.id).where(Task.model_id == model_id, Task.state.in_(RUNNING_STATES))
        return cls(
            live.number if live else None,
            frozenset(lineage(session, live)) if live else frozenset(),
            session.scalar(running.limit(1)),
        )

    def waits_for(self, version: Version) -> str | None:
        """Return what the deletion for a version waits for, and what to do; None: for nothing."""
        if version.deleted_at is not None:
            return f"nothing any more: the version was deleted first. To delete them, {_ANEW}"
        if version.id not in self.line:
            now = f"version {self.live} is, and did not" if self.live else "no version is"
            return (
                f"version {version.number}, or one that came of it, to be live: {now}. "
                f"Promote it; where nobody will, {_ANEW}"
            )
        if self.running is not None:
            return f"task {self.running} of the model to end, and for no other to begin before that"
        return None


def is_due(session: Session, version: Version) -> bool:
    """Return whether the pictures that a version is to delete may be deleted now."""
    if version.erasure != Erasure.WAITS:
        return False
    return Moment.of(session, version.model_id).waits_for(version) is None
