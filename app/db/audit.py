"""Who did what: rows are only ever added, the database itself refuses anything else."""

from datetime import datetime

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonObject, UtcDateTime, utc_now


class AuditEntry(Base):
    """One deed, written in its own transaction.

    Triggers refuse UPDATE and DELETE. `hash` covers the row and the hash of the row before it.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_action_id", "action", "id"),
        Index("ix_audit_entries_actor_name_id", "actor_name", "id"),
        Index("ix_audit_entries_model_id", "model", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)  # in the order of the commits
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, index=True)
    action: Mapped[str] = mapped_column(String(50))
    actor_type: Mapped[str] = mapped_column(String(20))
    actor_name: Mapped[str] = mapped_column(String(200))
    request_id: Mapped[str | None] = mapped_column(String(200))
    model: Mapped[str | None] = mapped_column(String(100))  # name of the model that it concerns
    object: Mapped[str] = mapped_column(String(300))  # path under which the API shows it
    before: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    after: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
