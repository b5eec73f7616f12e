"""An upload that comes in parts."""

from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject, UtcDateTime, utc_now


class LargeUploadState(StrEnum):
    """How far an upload is that comes in parts."""

    OPEN = "open"  # parts may come
    CHECKING = "checking"  # some process puts them together
    DONE = "done"  # it is a blob
    FAILED = "failed"  # its bytes are not what was announced


class LargeUpload(Base):
    """What somebody announced to send in parts, and what became of it.

    Which of its parts are there says the blob store, to which they may go past the service.
    Whoever puts them together writes only while `fence` is the number that it claimed the row with.
    """

    __tablename__ = "large_uploads"
    __table_args__ = (Index("ix_large_uploads_key_id_sha256", "key_id", "sha256"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=lambda: str(uuid4()))
    # Whoever sends it; NULL: a caller without a key.
    key_id: Mapped[int | None] = mapped_column(ForeignKey("api_keys.id"))
    name: Mapped[str] = mapped_column(String(200))
    bytes: Mapped[int] = mapped_column(BigInteger)
    part_bytes: Mapped[int] = mapped_column(BigInteger)  # of every part but the last
    sha256: Mapped[str | None] = mapped_column(String(64))  # as it was announced
    state: Mapped[LargeUploadState] = mapped_column(String(10), default=LargeUploadState.OPEN)
    error: Mapped[JsonObject | None]  # why it failed, or could not be put together for now
    blob: Mapped[str | None] = mapped_column(String(64), index=True)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[float | None] = mapped_column(Float)  # on the database's clock
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
