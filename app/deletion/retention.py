"""Retention: what is kept for some days is deleted when they are over (decision 17)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.audit.actor import act_as
from app.audit.service import Action, record
from app.db import (
    END_STATES,
    Actor,
    ActorType,
    AliasMove,
    HeldOutSet,
    Place,
    Task,
    TaskEvent,
    TaskLog,
    TaskState,
    Version,
    present,
    read_session,
    write_session,
)
from app.deletion.freeing import free
from app.deletion.service import (
    Removal,
    delete_held_out,
    delete_task,
    delete_version,
    forget_history,
)
from app.errors import ConflictProblem, NotFoundProblem
from app.registry.service import LIVE
from app.settings import Settings
from app.storage import BlobStore

_TOLD = or_(
    exists().where(TaskEvent.task_id == Task.id), exists().where(TaskLog.task_id == Task.id)
)
"""Tasks that have a history still: events, a log, or both."""

AT_ONCE = 100
"""Most of each kind that one sweep deletes, so that it is soon over."""


@dataclass(frozen=True)
class Retained:
    """What a sweep deleted.

    Attributes:
        versions: versions.
        held_out: sets of held-out pictures.
        tasks: failed and cancelled tasks.
        histories: tasks whose events and log went; the tasks stay.
        freed_bytes: that were given back.
    """

    versions: int = 0
    held_out: int = 0
    tasks: int = 0
    histories: int = 0
    freed_bytes: int = 0

    @property
    def more(self) -> bool:
        """Whether the sweep reached its bound, so that more may be due."""
        return max(self.versions, self.held_out, self.tasks, self.histories) >= AT_ONCE


def retain(engine: Engine, stores: Mapping[Place, BlobStore], settings: Settings) -> Retained:
    """Delete what is past its days, the oldest first and at most `AT_ONCE` of each kind.

    Any number of workers may do it at once: each thing goes in a transaction of its own, which
    looks again whether it may.
    """

    def remove(
        days: float | None,
        due: Callable[[Session, datetime, int], Sequence[Due]],
        delete: Callable[[Session, Due], Removal],
    ) -> tuple[int, int]:
        if days is None:
            return 0, 0
        with read_session(engine) as session:
            before = present(session) - timedelta(days=days)
        freed: list[int] = []
        asked = set[Due]()
        full = True
        # Behind a whole lot that may not go after all there may be what may.
        while full and len(freed) < AT_ONCE:
            limit = AT_ONCE + len(asked)
            with read_session(engine) as session:
                found = due(session, before, limit)
            full = len(found) == limit
            fresh = [one for one in found if one not in asked][: AT_ONCE - len(freed)]
            asked.update(fresh)
            removals = _removals(engine, fresh, delete)
            freed.extend(free(engine, stores, settings, removal) for removal in removals)
        return len(freed), sum(freed)

    versions = remove(
        settings.keep_versions_days,
        _old_versions,
        lambda session, one: _delete_version(session, stores, one),
    )
    held_out = remove(settings.keep_held_out_days, _old_held_out, _delete_held_out)
    failed = remove(settings.keep_failed_days, _old_failed, _delete_task)
    cancelled = remove(settings.keep_cancelled_days, _old_cancelled, _delete_task)
    histories = remove(settings.keep_events_days, _old_histories, _delete_history)
    kinds = (versions, held_out, failed, cancelled, histories)
    return Retained(
        versions=versions[0],
        held_out=held_out[0],
        tasks=failed[0] + cancelled[0],
        histories=histories[0],
        freed_bytes=sum(freed for _, freed in kinds),
    )


Due = int | str
"""The id of a row that is due."""


def _removals(
    engine: Engine, found: Sequence[Due], delete: Callable[[Session, Due], Removal]
) -> Iterator[Removal]:
    for one in found:
        try:
            with write_session(engine) as session:
                act_as(session, Actor(ActorType.WORKER, "retention"))
                removal = delete(session, one)
        except (ConflictProblem, NotFoundProblem):
            continue  # it is needed after all, or another worker was faster
        if removal.deleted:
            yield removal


def _old_versions(session: Session, before: datetime, limit: int) -> Sequence[Due]:
    """Return leaves of the lineages that are neither live nor were since `before`."""
    child = aliased(Version)
    under_way = exists().where(Task.parent_id == Version.id, Task.state.not_in(END_STATES))
    wanted = (
        select(Version.id)
        .where(Version.deleted_at.is_(None), Version.created_at <= before)
        .where(~exists().where(child.parent_id == Version.id, child.deleted_at.is_(None)))
        .where(~under_way, ~_was_live(before))
        .order_by(Version.id)
    )
    return session.scalars(wanted.limit(limit)).all()


def _was_live(since: datetime) -> ColumnElement[bool]:
    """Whether a version is live, or was at any time since then: until the move after its own."""
    until = func.lead(AliasMove.moved_at).over(
        partition_by=AliasMove.model_id, order_by=AliasMove.sequence
    )
    moves = (
        select(AliasMove.version_id, until.label("until")).where(AliasMove.alias == LIVE).subquery()
    )
    lately = select(moves.c.version_id).where(or_(moves.c.until.is_(None), moves.c.until > since))
    return Version.id.in_(lately)


def _old_held_out(session: Session, before: datetime, limit: int) -> Sequence[Due]:
    wanted = (
        select(Version.id)
        .join(HeldOutSet, HeldOutSet.version_id == Version.id)
        .where(HeldOutSet.deleted_at.is_(None), Version.created_at <= before)
        .order_by(Version.id)
    )
    return session.scalars(wanted.limit(limit)).all()


def _old_failed(session: Session, before: datetime, limit: int) -> Sequence[Due]:
    return _old_tasks(session, before, limit, TaskState.FAILED, Task.tidied_at.is_not(None))


def _old_cancelled(session: Session, before: datetime, limit: int) -> Sequence[Due]:
    return _old_tasks(session, before, limit, TaskState.CANCELLED)


def _old_tasks(
    session: Session,
    before: datetime,
    limit: int,
    state: TaskState,
    *conditions: ColumnElement[bool],
) -> Sequence[Due]:
    """Return tasks that ended in a state and made no version; a preview's task waits for it."""
    preview = aliased(Task)
    waits = exists().where(preview.preview_of == Task.id, preview.state.not_in(END_STATES))
    wanted = (
        select(Task.id)
        .where(Task.state == state, Task.finished_at <= before, *conditions)
        .where(~exists().where(Version.task_id == Task.id), ~waits)
        .order_by(Task.finished_at)
    )
    return session.scalars(wanted.limit(limit)).all()


def _old_histories(session: Session, before: datetime, limit: int) -> Sequence[Due]:
    wanted = (
        select(Task.id)
        .where(Task.state.in_(END_STATES), Task.finished_at <= before, _TOLD)
        .order_by(Task.finished_at)
    )
    return session.scalars(wanted.limit(limit)).all()


def _delete_version(
    session: Session, stores: Mapping[Place, BlobStore], version_id: Due
) -> Removal:
    version = session.get_one(Version, version_id)
    return delete_version(session, stores.keys(), version.model, version.number)


def _delete_held_out(session: Session, version_id: Due) -> Removal:
    return delete_held_out(session, session.get_one(Version, version_id))


def _delete_task(session: Session, task_id: Due) -> Removal:
    return delete_task(session, str(task_id))


def _delete_history(session: Session, task_id: Due) -> Removal:
    mine = select(Task).where(Task.id == str(task_id)).with_for_update(of=Task)
    task = session.scalar(mine)
    if task is None or session.scalar(select(Task.id).where(Task.id == task.id, _TOLD)) is None:
        return Removal()  # another worker was faster
    told, logged = forget_history(session, [task.id])
    record(
        session,
        Action.TASK_HISTORY_DELETE,
        f"/tasks/{task.id}",
        model=task.model.name,
        before={"events": told, "log": logged},
        after={"events": 0, "log": False},
    )
    return Removal(deleted=(f"{told} events and the log",))
