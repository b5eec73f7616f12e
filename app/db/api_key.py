"""API keys, stored as HMAC digests, and what each of them may."""

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.actor import Actor
from app.db.base import Base, UtcDateTime, utc_now


class ApiKey(Base):
    """A key's digest and what it may do; the key itself is shown once and never stored."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    made_by: Mapped[Actor | None]  # NULL: made before it was recorded
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_by: Mapped[Actor | None]
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # to the minute

    models: Mapped[list[str] | None] = mapped_column(default=list)  # empty or NULL: all
    # NULL: no limit.
    requests_per_minute: Mapped[int | None]
    pictures_per_minute: Mapped[int | None]
    concurrent_requests: Mapped[int | None]
    queued_tasks: Mapped[int | None]
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
