"""What was posted with tasks: kept while a task needs it, and not longer."""

from sqlalchemy import String, and_, cast, func, or_, select
from sqlalchemy.orm import Session

from app.db import END_STATES, HeldOutSet, Memory, Task, TaskState, Version
from app.storage import BlobStore


def hold_upload(session: Session, key: str) -> None:
    """Keep everybody else from adding or removing a user of this blob until the transaction ends.

    Who queues a task and who removes what no task needs would otherwise not see each other.
    (SQLite has one writer at a time in any case.)
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(int(key[:15], 16))))


def drop_upload(session: Session, blobs: BlobStore, key: str) -> None:
    """Remove a posted blob, unless a task may still read it, or it is kept as it is.

    Blobs are named by their content: somebody may post the very bytes that a version, a set of
    held-out pictures or a memory consists of.

    `session` writes; nobody can queue a task for the blob before its transaction ends.
    """
    hold_upload(session, key)
    posted = or_(Task.dataset == key, Task.evaluation == key)
    retryable = and_(Task.state == TaskState.FAILED, Task.tidied_at.is_(None))
    users = (
        select(Task.id).where(posted, or_(Task.state.not_in(END_STATES), retryable)),
        select(HeldOutSet.id).where(HeldOutSet.blob == key),
        select(Memory.id).where(Memory.blob == key, Memory.deleted_at.is_(None)),
        select(Version.id).where(cast(Version.files, String).contains(key)),
    )
    if all(session.scalar(one.limit(1)) is None for one in users):
        blobs.delete(key)
