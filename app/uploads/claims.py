"""Who puts an upload's parts together: one process at a time, while its lease stands. Web-free."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, update
from sqlalchemy.orm import Session

from app.db import LargeUpload, LargeUploadState, database_now, has_come
from app.db.base import JsonObject
from app.uploads.cut import Parts

LEASE_SECONDS = 30.0
"""How long a process that puts parts together may say nothing before another one may."""


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


def claim(session: Session, upload: str) -> Claim | None:
    """Take the right to put an upload's parts together; None: another one has it, or it is over."""
    free = or_(
        LargeUpload.state == LargeUploadState.OPEN,
        and_(LargeUpload.state == LargeUploadState.CHECKING, lapsed()),
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


def lapsed() -> ColumnElement[bool]:
    """Whether who puts an upload together has said nothing for too long."""
    return has_come(LargeUpload.lease_until, LEASE_SECONDS)
