"""What a key's tasks may take of the service, counted in the database."""

from collections.abc import Callable, Iterable

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.db import END_STATES, ApiKey, HeldOutSet, Memory, Task, TaskState, Version
from app.errors import TooLargeProblem
from app.keys.problems import ByteLimitProblem, TaskLimitProblem

_KEYLESS = (0x53415453, 2)  # two numbers, as of the lock on what is written at a commit
RETRY_SECONDS = 60
"""When to ask again: nobody knows when a task will have ended."""


def check_quotas(session: Session, key_id: int | None, more_bytes: int) -> None:
    """Check that a key may have one more task queue, with so many bytes of its own.

    The key's row is locked until the transaction ends, so that of two posts at once one sees the
    other's task.

    Raises:
        TaskLimitProblem: as many of its tasks wait as may.
        TooLargeProblem: this one alone has more bytes than its tasks may keep together.
        ByteLimitProblem: its tasks would keep more bytes than they may.
    """
    if key_id is None:
        return
    key = session.scalars(select(ApiKey).where(ApiKey.id == key_id).with_for_update()).one()
    if key.queued_tasks is not None and queued_tasks(session, key_id) >= key.queued_tasks:
        raise TaskLimitProblem(
            f"the key {key.name!r} may have {key.queued_tasks} tasks in the queue",
            RETRY_SECONDS,
            key.queued_tasks,
        )
    _check_bytes(session, key, more_bytes)


def lock_key(session: Session, key_id: int | None) -> ApiKey | None:
    """Let nobody else count for a key until the transaction ends; returns its row.

    Where there are no keys, all callers are one, and a lock of theirs stands for the row.
    """
    if key_id is not None:
        return session.scalars(select(ApiKey).where(ApiKey.id == key_id).with_for_update()).one()
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time
        session.execute(select(func.pg_advisory_xact_lock(*_KEYLESS)))
    return None


def check_imports(
    session: Session, key_id: int | None, waiting: Callable[[], int], most: int
) -> None:
    """Check that one more import may wait for a key, to become a task of its own.

    The key is locked until the transaction ends, and before imports are counted: of two that are
    asked for at once one sees the other.

    Args:
        session: the transaction.
        key_id: the key; None: of callers without one.
        waiting: counts the imports of the key that wait.
        most: that may wait, where the key has no stricter limit of its tasks.

    Raises:
        TaskLimitProblem: as many wait, beside its tasks that do, as may.
    """
    key = lock_key(session, key_id)
    counted = waiting()
    if counted >= most:
        raise TaskLimitProblem(f"{counted} imports of the key wait already", RETRY_SECONDS, most)
    if key is None or key.queued_tasks is None:
        return
    if counted + queued_tasks(session, key.id) >= key.queued_tasks:
        raise TaskLimitProblem(
            f"the key {key.name!r} may have {key.queued_tasks} tasks in the queue, imports that "
            "wait among them",
            RETRY_SECONDS,
            key.queued_tasks,
        )


def check_upload(session: Session, key_id: int, upload_bytes: int, open_bytes: int) -> None:
    """Check that a key may have one more upload; its row is locked until the transaction ends.

    Args:
        session: the transaction.
        key_id: the key.
        upload_bytes: of the upload.
        open_bytes: of the key's other uploads that no task has yet.

    Raises:
        TooLargeProblem: it alone has more bytes than the key's tasks may keep together.
        ByteLimitProblem: with it the key's tasks and uploads would keep more.
    """
    key = session.scalars(select(ApiKey).where(ApiKey.id == key_id).with_for_update()).one()
    _check_bytes(session, key, upload_bytes, open_bytes)


def _check_bytes(session: Session, key: ApiKey, more_bytes: int, open_bytes: int = 0) -> None:
    if key.stored_bytes is None:
        return
    if more_bytes > key.stored_bytes:  # no time will come when there is room
        raise TooLargeProblem(
            f"the tasks of the key {key.name!r} may keep {key.stored_bytes} bytes, and this "
            f"one alone has {more_bytes}"
        )
    kept = stored_bytes(session, key.id) + open_bytes
    if kept + more_bytes > key.stored_bytes:
        raise ByteLimitProblem(
            f"the tasks of the key {key.name!r} may keep {key.stored_bytes} bytes; they keep "
            f"{kept}, and this one has {more_bytes}",
            RETRY_SECONDS,
            key.stored_bytes,
            left=max(0, key.stored_bytes - kept),
        )


def queued_tasks(session: Session, key_id: int) -> int:
    """Return how many tasks of a key wait; one and its preview count once."""
    waiting = select(func.count()).where(
        Task.key_id == key_id, Task.state == TaskState.QUEUED, Task.preview_of.is_(None)
    )
    return session.scalar(waiting) or 0


def stored_bytes(session: Session, key_id: int) -> int:
    """Return the bytes that a key's tasks keep: uploads, and of versions files and pictures.

    Bytes that two of them share count for each. Held-out pictures whose size nobody has written
    down yet (`app.db.filling`) count as nothing.
    """
    runnable = or_(
        Task.state.not_in(END_STATES),
        and_(Task.state == TaskState.FAILED, Task.tidied_at.is_(None)),
    )
    # A preview has the upload of its task.
    uploads = select(func.sum(Task.dataset_bytes)).where(
        Task.key_id == key_id, Task.preview_of.is_(None), runnable
    )
    versions = select(Version.files).join(Task, Task.id == Version.task_id)
    pictures = (
        select(func.sum(kept.bytes))
        .join(Version, Version.id == kept.version_id)
        .join(Task, Task.id == Version.task_id)
        .where(Task.key_id == key_id, kept.deleted_at.is_(None))
        for kept in (Memory, HeldOutSet)
    )
    files = session.scalars(versions.where(Task.key_id == key_id, Version.deleted_at.is_(None)))
    return (
        int(session.scalar(uploads) or 0)
        + sum(_sizes(entry) for entry in files)
        + sum(int(session.scalar(one) or 0) for one in pictures)
    )


def _sizes(files: dict[str, dict[str, int]]) -> int:
    sizes: Iterable[int] = (one["bytes"] for one in files.values())
    return sum(sizes)
