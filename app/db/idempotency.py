"""Requests that came with an Idempotency-Key."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, UtcDateTime, database_time


class IdempotentRequest(Base):
    """A request that was done, and is not done again; tasks hold their own keys.

    The key itself is not stored: what was made under it may hang on it (`Once.random`).
    """

    __tablename__ = "idempotent_requests"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # digest of caller and key
    digest: Mapped[str] = mapped_column(String(64))  # of what was asked for
    salt: Mapped[str] = mapped_column(String(64))
    made: Mapped[str] = mapped_column(String(200), default="")  # what came of it: an id, a name
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=database_time(), index=True)
