"""The audit log: written with the deed, read by page or whole, checked by its chain of hashes."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.audit.actor import actor_of
from app.db import AuditEntry, utc_now
from app.db.at_commit import at_commit
from app.db.base import JsonObject, utc_text

FIRST = "0" * 64
"""What stands for the hash before the first entry's."""

BATCH = 500


class Action(StrEnum):
    """What is recorded."""

    TASK_POST = "task.post"
    TASK_CANCEL = "task.cancel"
    TASK_RETRY = "task.retry"
    IMPORT = "version.import"
    RETIRE = "version.retire"
    PROMOTE = "version.promote"
    ROLLBACK = "version.rollback"
    GATE_SET = "gate.set"
    MEMORY_DELETE = "memory.delete"
    HELD_OUT_DELETE = "held_out.delete"
    CLASS_FORGET = "class.forget"
    VERSION_DELETE = "version.delete"
    TASK_DELETE = "task.delete"
    TASK_HISTORY_DELETE = "task.history_delete"
    UPLOAD_DELETE = "upload.delete"
    WEBHOOK_CREATE = "webhook.create"
    WEBHOOK_DELETE = "webhook.delete"
    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"
    DOCTOR_REPAIR = "doctor.repair"


_FORMERLY = {Action.HELD_OUT_DELETE: ("held-out.delete",)}
"""What actions were called; entries are never changed."""


@dataclass(frozen=True)
class Wanted:
    """Which entries are asked for; None: any.

    Attributes:
        action: what was done.
        model: name of the model that it concerns.
        actor: name of who did it.
        since: not before this time.
        until: before this time.
    """

    action: Action | None = None
    model: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what the rows must fulfil."""
        same = {AuditEntry.model: self.model, AuditEntry.actor_name: self.actor}
        found = [column == value for column, value in same.items() if value is not None]
        if self.action is not None:
            found.append(AuditEntry.action.in_([self.action, *_FORMERLY.get(self.action, ())]))
        if self.since is not None:
            found.append(AuditEntry.at >= self.since)
        if self.until is not None:
            found.append(AuditEntry.at < self.until)
        return found


def record(
    session: Session,
    action: Action,
    object: str,
    *,
    model: str | None = None,
    before: JsonObject | None = None,
    after: JsonObject | None = None,
) -> None:
    """Write down a deed in its own transaction: both happen, or none. Flushes.

    The entry itself is written when the transaction commits: nobody reads it before.

    Args:
        session: the deed's transaction.
        action: what is done.
        object: path under which the API shows what it is done to.
        model: name of the model that it concerns, if one.
        before: what of the object is about to change.
        after: what it is then.
    """
    actor = actor_of(session)
    entry = AuditEntry(
        action=action,
        actor_type=actor.type,
        actor_name=actor.name,
        request_id=actor.request_id,
        model=model,
        object=object,
        before=before,
        after=after,
    )
    at_commit(session, partial(_chain, entry))


def _chain(entry: AuditEntry, session: Session) -> None:
    """Add an entry behind the last one, which it names: nobody else adds one meanwhile."""
    last = session.scalar(select(AuditEntry.hash).order_by(AuditEntry.id.desc()).limit(1))
    entry.at, entry.previous = utc_now(), last or FIRST
    entry.hash = entry_hash(entry)
    session.add(entry)


def entry_hash(entry: AuditEntry) -> str:
    """Return the SHA-256 of what an entry says and of the hash of the one before it, hex."""
    said = {
        "at": utc_text(entry.at),
        "action": entry.action,
        "actor": {"type": entry.actor_type, "name": entry.actor_name},
        "request_id": entry.request_id,
        "model": entry.model,
        "object": entry.object,
        "before": entry.before,
        "after": entry.after,
        "previous": entry.previous,
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def list_entries(
    session: Session, wanted: Wanted, limit: int, before: int | None = None
) -> Sequence[AuditEntry]:
    """Return entries, the newest first; `before` is the id of the last one seen."""
    found = select(AuditEntry).where(*wanted.conditions()).order_by(AuditEntry.id.desc())
    if before is not None:
        found = found.where(AuditEntry.id < before)
    return session.scalars(found.limit(limit)).all()


def entries_after(session: Session, wanted: Wanted, after: int) -> Sequence[AuditEntry]:
    """Return the entries behind the one with id `after`, the oldest first, `BATCH` at most."""
    found = select(AuditEntry).where(AuditEntry.id > after, *wanted.conditions())
    return session.scalars(found.order_by(AuditEntry.id).limit(BATCH)).all()


def first_broken(session: Session) -> int | None:
    """Return the id of the first entry that is not as it was written; None: all are.

    What was cut off the end leaves no gap: compare the last hash with one that was kept elsewhere.
    """
    previous = FIRST
    for entry in _all(session):
        if entry.previous != previous or entry.hash != entry_hash(entry):
            return entry.id
        previous = entry.hash
    return None


def _all(session: Session) -> Iterator[AuditEntry]:
    last = 0
    while batch := entries_after(session, Wanted(), last):
        yield from batch
        last = batch[-1].id
        session.expunge_all()
