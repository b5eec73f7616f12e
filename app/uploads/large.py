"""Uploads that come in parts: their rows. Web-free."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from app.audit.service import Action, record
from app.db import LargeUpload, LargeUploadState, Task, present
from app.db.base import database_time
from app.errors import NotFoundProblem
from app.keys.problems import UploadLimitProblem
from app.keys.quotas import RETRY_SECONDS, check_upload, lock_key
from app.settings import Settings
from app.storage import Blob
from app.storage.references import RUNNABLE
from app.tasks.disk import check_room
from app.uploads.claims import lapsed
from app.uploads.cut import MOST_PARTS, Parts
from app.uploads.tokens import gone

MOST_OPEN = 100
"""Large uploads that one key may have at a time."""

_AT_ONCE = LargeUpload.fence == 0
"""Of what is done: nobody put it together, and only a token stands for it."""
_USABLE = LargeUpload.state != LargeUploadState.FAILED
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_id(name: str) -> bool:
    """Return whether a name could be that of a large upload."""
    return _ID.fullmatch(name) is not None


def parts_of(row: LargeUpload) -> Parts:
    """Return how an upload is cut."""
    return Parts(row.bytes, row.part_bytes)


def find(session: Session, key_id: int | None, upload: str) -> LargeUpload | None:
    """Return an upload of a key; None: the key has none of this id, or none any more."""
    if not is_id(upload):
        return None
    return session.scalar(select(LargeUpload).where(LargeUpload.id == upload, *_own(key_id)))


def get(session: Session, key_id: int | None, upload: str) -> tuple[LargeUpload, LargeUploadState]:
    """Return an upload of a key, and its state: a process that is lost checks nothing.

    Raises:
        NotFoundProblem: the key has none of this id, or none any more.
    """
    wanted = select(LargeUpload, lapsed()).where(LargeUpload.id == upload, *_own(key_id))
    found = session.execute(wanted).one_or_none() if is_id(upload) else None
    if found is None:
        raise _no_such()
    row, lost = found
    if row.state == LargeUploadState.CHECKING and lost:
        return row, LargeUploadState.OPEN
    return row, row.state


def complete(session: Session, key_id: int | None, most: int) -> Sequence[LargeUpload]:
    """Return uploads of a key that came in parts and are whole, the newest first."""
    whole = LargeUpload.state == LargeUploadState.DONE, ~_AT_ONCE
    wanted = select(LargeUpload).where(*_own(key_id), *whole)
    return session.scalars(wanted.order_by(LargeUpload.created_at.desc()).limit(most)).all()


def begin(
    session: Session,
    settings: Settings,
    key_id: int | None,
    announced: Blob,
    name: str,
    room: int = 0,
) -> LargeUpload:
    """Return a new upload, or the one of the same bytes that the key has begun. Flushes.

    So whoever was cut off goes on by asking again, whatever it remembers. The key is locked until
    the transaction ends: of two that announce at once one sees the other's.

    Args:
        session: the transaction.
        settings: of the process.
        key_id: whose it is.
        announced: its bytes; where the key is "", nobody knows their checksum.
        name: what people call it.
        room: bytes that a new one takes of this disk; of one that was begun some are there.

    Raises:
        DiskFullProblem: there is no room for it.
        TooLargeProblem, ByteLimitProblem, UploadLimitProblem: it is too much for the key.
    """
    ends = present(session) + timedelta(hours=settings.keep_uploads_hours)
    _begin_to_count(session, key_id)
    known = _same(session, key_id, announced)
    if known is not None:
        known.expires_at = ends
        known.fence = max(known.fence, 1)  # its id is given out: `spend` leaves it from now on
        session.flush()
        return known
    if key_id is not None:
        check_upload(session, key_id, announced.size, bytes_of(session, key_id))
    unfinished = LargeUpload.state != LargeUploadState.DONE
    opened = select(func.count()).select_from(LargeUpload).where(*_own(key_id), unfinished)
    if (session.scalar(opened) or 0) >= MOST_OPEN:
        raise UploadLimitProblem(
            f"{MOST_OPEN} large uploads of the key are open: finish them, or delete some",
            RETRY_SECONDS,
            MOST_OPEN,
        )
    check_room(settings, coming=room)
    row = LargeUpload(
        key_id=key_id,
        name=name,
        bytes=announced.size,
        part_bytes=max(settings.upload_part_bytes, -(-announced.size // MOST_PARTS)),
        sha256=announced.key or None,
        expires_at=ends,
    )
    session.add(row)
    session.flush()
    return row


def keep(session: Session, key_id: int | None, blob: Blob, until: datetime) -> None:
    """Keep a blob that a key sent at once, as those are that came in parts. Flushes.

    It is kept until then, or until a task is made of it (`spend`). So nobody's deletion of the same
    bytes takes it, and it counts for the key, in every process.

    Raises:
        TooLargeProblem, ByteLimitProblem: it is too much for the key.
    """
    _begin_to_count(session, key_id)
    known = _same(session, key_id, blob, LargeUpload.state == LargeUploadState.DONE)
    if known is not None:
        known.expires_at = max(known.expires_at, until)
        session.flush()
        return
    if key_id is not None:
        check_upload(session, key_id, blob.size, bytes_of(session, key_id))
    row = LargeUpload(
        key_id=key_id,
        name="dataset.zip",
        bytes=blob.size,
        part_bytes=max(blob.size, 1),
        sha256=blob.key,
        state=LargeUploadState.DONE,
        blob=blob.key,
        expires_at=until,
    )
    session.add(row)
    session.flush()


def spend(session: Session, key_id: int | None, blob: str) -> None:
    """Keep what a key sent at once no longer: a task was made of it, which keeps it until it ends.

    What has an id, as all has that came in parts, stays until it expires or is given up.
    """
    spent = delete(LargeUpload).where(*_sent_at_once(key_id, blob))
    session.execute(spent.execution_options(synchronize_session=False))


def give_up(session: Session, key_id: int | None, blob: str) -> bool:
    """Delete what a key sent at once, and write it down; returns whether it was kept. Flushes."""
    return bool(_given_up(session, *_sent_at_once(key_id, blob)))


def check_held(session: Session, key_id: int | None, blob: str) -> None:
    """Check that a blob is a key's own still: an upload, or the data set of a task that needs it.

    Others may have the same bytes: what the key gave up it cannot use for that.

    Raises:
        UploadGoneProblem: it is not.
    """
    upload = select(LargeUpload.id).where(*_own(key_id), LargeUpload.blob == blob)
    owner = Task.key_id.is_not_distinct_from(key_id)
    task = select(Task.id).where(Task.dataset == blob, owner, RUNNABLE)
    if all(session.scalar(one.limit(1)) is None for one in (upload, task)):
        raise gone("the upload was removed")


def id_of(session: Session, key_id: int | None, blob: str) -> str | None:
    """Return the id of the upload of a key that became a blob; None: there is none."""
    wanted = select(LargeUpload.id).where(*_own(key_id), LargeUpload.blob == blob, ~_AT_ONCE)
    return session.scalar(wanted.limit(1))


def bytes_of(session: Session, key_id: int) -> int:
    """Return the bytes of a key's uploads, as announced, but of what its tasks keep."""
    kept = exists().where(
        Task.dataset == LargeUpload.blob,
        Task.key_id == key_id,
        Task.preview_of.is_(None),  # as `stored_bytes` counts them
        RUNNABLE,
    )
    total = select(func.sum(LargeUpload.bytes)).where(*_own(key_id), _USABLE, ~kept)
    return int(session.scalar(total) or 0)


def forget(session: Session, key_id: int | None, upload: str) -> str | None:
    """Delete an upload of a key, and write it down. Flushes.

    Returns the blob that it had become; None: it was none yet.

    Raises:
        NotFoundProblem: the key has none of this id, or none any more.
    """
    mine = LargeUpload.id == upload, *_own(key_id)
    found = _given_up(session, *mine) if is_id(upload) else []
    if not found:
        raise _no_such()
    return found[0]


def forget_ended(session: Session) -> None:
    """Forget uploads of every key that were kept for long enough.

    Left to the next time is what somebody else holds: no key is locked.
    """
    ended = select(LargeUpload.id).where(LargeUpload.expires_at <= database_time())
    ids = session.scalars(ended.with_for_update(skip_locked=True)).all()
    session.execute(delete(LargeUpload).where(LargeUpload.id.in_(ids)))


def _no_such() -> NotFoundProblem:
    return NotFoundProblem("there is no such upload of this key")


def _given_up(session: Session, *which: ColumnElement[bool]) -> list[str | None]:
    """Delete uploads, and write that down; returns the blobs that they had become."""
    told = (LargeUpload.name, LargeUpload.bytes, LargeUpload.sha256, LargeUpload.state)
    deleted = (
        delete(LargeUpload)
        .where(*which)
        .returning(LargeUpload.id, LargeUpload.blob, *told)
        .execution_options(synchronize_session=False)
    )
    found = session.execute(deleted).all()
    for row in found:
        before = {column.key: getattr(row, column.key) for column in told}
        record(session, Action.UPLOAD_DELETE, f"/uploads/{row.id}", before=before)
    return [row.blob for row in found]


def _sent_at_once(key_id: int | None, blob: str) -> tuple[ColumnElement[bool], ...]:
    done = LargeUpload.state == LargeUploadState.DONE
    return _of(key_id), LargeUpload.blob == blob, done, _AT_ONCE


def _own(key_id: int | None) -> tuple[ColumnElement[bool], ...]:
    return _of(key_id), LargeUpload.expires_at > database_time()


def _of(key_id: int | None) -> ColumnElement[bool]:
    return LargeUpload.key_id.is_not_distinct_from(key_id)


def _begin_to_count(session: Session, key_id: int | None) -> None:
    """Lock a key until the transaction ends, and forget what it kept for long enough."""
    lock_key(session, key_id)
    ended = _of(key_id), LargeUpload.expires_at <= database_time()  # others' have other locks
    session.execute(delete(LargeUpload).where(*ended))


def _same(
    session: Session, key_id: int | None, announced: Blob, state: ColumnElement[bool] = _USABLE
) -> LargeUpload | None:
    """Return the upload of these bytes that a key has begun; of unknown ones there is none."""
    if not announced.key:
        return None
    wanted = select(LargeUpload).where(
        *_own(key_id),
        LargeUpload.sha256 == announced.key,
        LargeUpload.bytes == announced.size,
        state,
    )
    return session.scalar(wanted.order_by(LargeUpload.created_at.desc()).limit(1))
