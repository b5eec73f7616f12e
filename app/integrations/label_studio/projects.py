"""Imports of Label Studio's projects that were asked for: who works at them. Web-free."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.audit.actor import COMMAND
from app.db import (
    END_STATES,
    Actor,
    ActorType,
    LabelStudioProject,
    ProjectState,
    Task,
    database_now,
    has_come,
)
from app.db.base import database_time

LEASE_SECONDS = 60.0
"""How long an import is taken for; whoever works at it renews it all the time."""
MOST_TRIES = 6
FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = FIRST_WAIT_SECONDS * 2.0**MOST_TRIES


@dataclass(frozen=True)
class Asker:
    """Who asks for an import: its task will be theirs.

    Attributes:
        actor: who.
        key_id: the key.
        by_admin: whether it has scope `admin`.
        create: whether it may make the model.
    """

    actor: Actor = COMMAND
    key_id: int | None = None
    by_admin: bool = False
    create: bool = False

    @property
    def submitted_by(self) -> str:
        """What the task is said to be posted by."""
        return self.actor.name if self.actor.type == ActorType.KEY else ""


@dataclass(frozen=True)
class Taken:
    """An import that was taken.

    Attributes:
        row: of the project.
        attempt: its fence.
        number: which of the row's imports it is.
        tries: of it, before this one.
        project: number in Label Studio.
        model: that is to learn.
        asker: whose task it will be.
    """

    row: int
    attempt: int
    number: int
    tries: int
    project: int
    model: str
    asker: Asker

    @property
    def task_key(self) -> str:
        """The Idempotency-Key of its task: however often it is tried, one task comes of it."""
        return f"label-studio-{self.row}-{self.number}"


def begin_next(row: LabelStudioProject) -> None:
    """Have the import wait that was asked for, for whoever asked."""
    if row.key_id != row.next_key_id:  # what came of another key's is not theirs to see
        row.pictures = row.pictures_in_all = 0
        row.classes, row.warnings, row.error = [], [], None
    row.state, row.wanted = ProjectState.WAITING, False
    row.asked_by, row.key_id = row.next_asked_by, row.next_key_id
    row.by_admin, row.create = row.next_by_admin, row.next_create


def is_due(session: Session, row: int | None = None) -> bool:
    """Return whether an import could be taken; of one row, where it is named."""
    return session.scalar(select(LabelStudioProject.id).where(_due(row)).limit(1)) is not None


def take(session: Session, row: int | None = None) -> Taken | None:
    """Take an import that is due, for `LEASE_SECONDS`; of one row, where it is named."""
    found = session.scalar(
        select(LabelStudioProject)
        .where(_due(row))
        .order_by(_last_served().nulls_first(), LabelStudioProject.asked_at, LabelStudioProject.id)
        .limit(1)
        .with_for_update(of=LabelStudioProject, skip_locked=True)
    )
    if found is None:
        return None
    if found.state == ProjectState.WAITING:
        found.state = ProjectState.FETCHING
        found.imports += 1
        found.tries = found.pictures = found.pictures_in_all = 0
        found.classes, found.warnings, found.error = [], [], None
    elif found.lease_until is not None:
        found.tries += 1  # whoever had it was lost
    if found.tries >= MOST_TRIES:
        found.state, found.lease_until = ProjectState.FAILED, None
        found.error = found.error or "the workers that worked at it were lost"
        if found.wanted:
            begin_next(found)
        return None
    found.attempts += 1
    session.flush()
    taken = Taken(
        row=found.id,
        attempt=found.attempts,
        number=found.imports,
        tries=found.tries,
        project=found.project,
        model=found.model,
        asker=Asker(found.asked_by or COMMAND, found.key_id, found.by_admin, found.create),
    )
    renew(session, taken)
    return taken


def renew(session: Session, taken: Taken, pictures: int = 0, in_all: int = 0) -> bool:
    """Keep what was taken, and say how far it is; says whether it was still ours to keep."""
    return _write(
        session,
        taken,
        lease_until=database_now() + LEASE_SECONDS,
        pictures=pictures,
        pictures_in_all=in_all,
    )


def give_back(session: Session, taken: Taken) -> bool:
    """Let another worker take it, at once."""
    return _write(session, taken, lease_until=None)


def put_off(session: Session, taken: Taken, why: str) -> bool:
    """Have it tried again later; after the last try it has failed."""
    if taken.tries + 1 >= MOST_TRIES:
        return end(session, taken, ProjectState.FAILED, error=why)
    wait = FIRST_WAIT_SECONDS * 2.0**taken.tries
    later = {"due_at": database_now() + wait, "tries": taken.tries + 1}
    return _write(session, taken, lease_until=None, error=why, **later)


def end(session: Session, taken: Taken, state: ProjectState, **values: object) -> bool:
    """Write what became of it; the next one waits where one was asked for meanwhile."""
    ended = {"error": None, **values, "lease_until": None, "state": state}
    if not _write(session, taken, **ended):
        return False
    again = (
        select(LabelStudioProject)
        .where(LabelStudioProject.id == taken.row, LabelStudioProject.wanted)
        .execution_options(populate_existing=True)
    )
    row = session.scalar(again)  # locked by what was written just now
    if row is not None:
        begin_next(row)
        session.flush()
    return True


def _write(session: Session, taken: Taken, **values: object) -> bool:
    mine = (
        update(LabelStudioProject)
        .where(
            LabelStudioProject.id == taken.row,
            LabelStudioProject.attempts == taken.attempt,
            LabelStudioProject.state == ProjectState.FETCHING,
        )
        .values(changed_at=database_time(), **values)
        .returning(LabelStudioProject.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(mine) is not None


def _last_served() -> ColumnElement[Any]:
    """Return when an import was worked at last that the key of a row has asked for.

    Keys take turns by it, however many imports of one of them wait.
    """
    other = aliased(LabelStudioProject)
    same = other.key_id.is_not_distinct_from(LabelStudioProject.key_id)
    served = (other.imports > 0) & (other.state != ProjectState.WAITING)
    last = select(func.max(other.changed_at)).where(same, served)
    return last.correlate(LabelStudioProject).scalar_subquery()


def _due(row: int | None) -> ColumnElement[bool]:
    lease = LabelStudioProject.lease_until
    runs = exists().where(Task.id == LabelStudioProject.task_id, Task.state.not_in(END_STATES))
    waits = (LabelStudioProject.state == ProjectState.WAITING) & ~runs
    lapsed = (
        (LabelStudioProject.state == ProjectState.FETCHING)
        & has_come(LabelStudioProject.due_at, LONGEST_WAIT_SECONDS)
        & or_(lease.is_(None), has_come(lease, LEASE_SECONDS))
    )
    due = waits | lapsed
    return due if row is None else due & (LabelStudioProject.id == row)
