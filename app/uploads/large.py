"""Uploads that come in parts: their rows. Web-free."""

import re
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from app.db import LargeUpload, LargeUploadState, Task, database_now, utc_now
from app.db.base import JsonObject
from app.disk import check_room
from app.errors import ConflictProblem, InvalidProblem, NotFoundProblem
from app.keys.problems import UploadLimitProblem
from app.keys.quotas import RETRY_SECONDS, check_upload, lock_key
from app.settings import Settings
from app.storage import Blob
from app.storage.references import RUNNABLE

MOST_PARTS = 2000
MOST_OPEN = 100
"""Large uploads that one key may have at a time."""
LEASE_SECONDS = 30.0
"""How long a process that puts parts together may say nothing before another one may."""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class UploadUnfinishedProblem(ConflictProblem):
    """Parts of the upload are missing, or were not put together yet."""

    slug = "upload-unfinished"
    title = "The upload is not finished"


class UploadClosedProblem(ConflictProblem):
    """No part is taken any more: they are being put together, or were."""

    slug = "upload-closed"
    title = "The upload takes no more parts"


class UploadDamagedProblem(InvalidProblem):
    """What came in parts is not what was announced: it is to be sent again from the start."""

    slug = "upload-damaged"
    title = "The upload is not what was announced"


@dataclass(frozen=True)
class Parts:
    """How an upload is cut: all parts but the last have the same bytes; they count from 1."""

    bytes: int
    part_bytes: int

    @property
    def count(self) -> int:
        """How many there are."""
        return -(-self.bytes // self.part_bytes)

    def offset(self, number: int) -> int:
        """Return where a part begins."""
        return (number - 1) * self.part_bytes

    def size(self, number: int) -> int:
        """Return how many bytes a part has."""
        return min(self.part_bytes, self.bytes - self.offset(number))


@dataclass(frozen=True)
class Claim:
    """The right to put an upload's parts together, until the lease has run out.

    Attributes:
        upload: its id.
        fence: number of the claim.
        parts: how it is cut.
        sha256: of all its bytes, as it was announced; None: it was not.
    """

    upload: str
    fence: int
    parts: Parts
    sha256: str | None


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
    wanted = select(LargeUpload, _lapsed()).where(LargeUpload.id == upload, *_own(key_id))
    found = session.execute(wanted).one_or_none() if is_id(upload) else None
    if found is None:
        raise _no_such()
    row, lost = found
    if row.state == LargeUploadState.CHECKING and lost:
        return row, LargeUploadState.OPEN
    return row, row.state


def begin(
    session: Session,
    settings: Settings,
    key_id: int | None,
    announced: Blob,
    name: str,
    open_bytes: int,
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
        open_bytes: of the key's uploads that are no large ones.
        room: bytes that a new one takes of this disk; of one that was begun some are there.

    Raises:
        DiskFullProblem: there is no room for it.
        TooLargeProblem, ByteLimitProblem, UploadLimitProblem: it is too much for the key.
    """
    ends = utc_now() + timedelta(hours=settings.keep_uploads_hours)
    lock_key(session, key_id)
    ended = _of(key_id), LargeUpload.expires_at <= utc_now()  # others' have other locks
    session.execute(delete(LargeUpload).where(*ended))
    known = _same(session, key_id, announced)
    if known is not None:
        known.expires_at = ends
        session.flush()
        return known
    if key_id is not None:
        kept = open_bytes + bytes_of(session, key_id)
        check_upload(session, key_id, announced.size, kept)
    opened = select(func.count()).select_from(LargeUpload).where(*_own(key_id))
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


def bytes_of(session: Session, key_id: int) -> int:
    """Return the bytes of a key's large uploads, as announced, but of what its tasks keep."""
    kept = exists().where(
        Task.dataset == LargeUpload.blob,
        Task.key_id == key_id,
        Task.preview_of.is_(None),  # as `stored_bytes` counts them
        RUNNABLE,
    )
    counted = LargeUpload.state != LargeUploadState.FAILED
    total = select(func.sum(LargeUpload.bytes)).where(*_own(key_id), counted, ~kept)
    return int(session.scalar(total) or 0)


def forget(session: Session, key_id: int | None, upload: str) -> str | None:
    """Delete an upload of a key, and return the blob that it had become; None: it was none yet.

    Raises:
        NotFoundProblem: the key has none of this id, or none any more.
    """
    gone = (
        delete(LargeUpload)
        .where(LargeUpload.id == upload, *_own(key_id))
        .returning(LargeUpload.blob)
        .execution_options(synchronize_session=False)
    )
    found = session.execute(gone).one_or_none() if is_id(upload) else None
    if found is None:
        raise _no_such()
    blob: str | None = found.blob
    return blob


def claim(session: Session, upload: str) -> Claim | None:
    """Take the right to put an upload's parts together; None: another one has it, or it is over."""
    free = or_(
        LargeUpload.state == LargeUploadState.OPEN,
        and_(LargeUpload.state == LargeUploadState.CHECKING, _lapsed()),
    )
    taken = (
        update(LargeUpload)
        .where(LargeUpload.id == upload, free)
        .values(
            state=LargeUploadState.CHECKING,
            fence=LargeUpload.fence + 1,
            lease_until=database_now() + LEASE_SECONDS,
            error=None,
        )
        .returning(LargeUpload.fence, LargeUpload.bytes, LargeUpload.part_bytes, LargeUpload.sha256)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(taken).one_or_none()
    if row is None:
        return None
    return Claim(upload, row.fence, Parts(row.bytes, row.part_bytes), row.sha256)


def renew(session: Session, held: Claim) -> bool:
    """Keep a claim for as long again; returns whether it stands."""
    return _write(session, held, lease_until=database_now() + LEASE_SECONDS)


def finish(session: Session, held: Claim, blob: str) -> bool:
    """Note that an upload is a blob; returns whether the claim stands."""
    return _write(session, held, state=LargeUploadState.DONE, blob=blob, sha256=blob)


def fail(session: Session, held: Claim, error: JsonObject) -> bool:
    """Note that an upload will never be one; returns whether the claim stands."""
    return _write(session, held, state=LargeUploadState.FAILED, error=error)


def release(session: Session, held: Claim, error: JsonObject | None) -> bool:
    """Give a claim back, for a reason that passes; returns whether it stood."""
    return _write(session, held, state=LargeUploadState.OPEN, lease_until=None, error=error)


def _write(session: Session, held: Claim, **values: object) -> bool:
    mine = (
        update(LargeUpload)
        .where(
            LargeUpload.id == held.upload,
            LargeUpload.fence == held.fence,
            LargeUpload.state == LargeUploadState.CHECKING,
        )
        .values(**values)
        .returning(LargeUpload.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(mine) is not None


def _no_such() -> NotFoundProblem:
    return NotFoundProblem("there is no such upload of this key")


def _lapsed() -> ColumnElement[bool]:
    return LargeUpload.lease_until < database_now()


def _own(key_id: int | None) -> tuple[ColumnElement[bool], ...]:
    return _of(key_id), LargeUpload.expires_at > utc_now()


def _of(key_id: int | None) -> ColumnElement[bool]:
    return LargeUpload.key_id.is_not_distinct_from(key_id)


def _same(session: Session, key_id: int | None, announced: Blob) -> LargeUpload | None:
    """Return the upload of these bytes that a key has begun; of unknown ones there is none."""
    if not announced.key:
        return None
    wanted = select(LargeUpload).where(
        *_own(key_id),
        LargeUpload.sha256 == announced.key,
        LargeUpload.bytes == announced.size,
        LargeUpload.state != LargeUploadState.FAILED,
    )
    return session.scalar(wanted.order_by(LargeUpload.created_at.desc()).limit(1))
