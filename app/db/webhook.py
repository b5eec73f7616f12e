"""Webhooks, and the outbox of what is to be delivered to them."""

from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import Float, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.actor import Actor, name_of, of_name
from app.db.base import Base, JsonObject, UtcDateTime, utc_now


class Webhook(Base):
    """Where somebody wants to be told of some events.

    Its secret is stored nowhere: it is made from `salt` and the secret of the service.
    """

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=lambda: str(uuid4()))
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]]
    model: Mapped[str | None] = mapped_column(String(100))  # a name; the model may come later
    salt: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    # Whoever made it; NULL: a process wrote it that knows names alone. `who` is read instead.
    made_by: Mapped[Actor | None]
    # Processes from before `made_by` read this and write it alone; a later migration drops it.
    created_by: Mapped[str] = mapped_column(String(100), default=name_of("made_by"))

    @property
    def who(self) -> Actor:
        """Who made it."""
        return self.made_by or of_name(self.created_by)


class DeliveryState(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"  # to be tried, or to be tried again
    DELIVERED = "delivered"  # the receiver answered with a status of 2xx
    FAILED = "failed"  # given up


class WebhookDelivery(Base):
    """One event on its way to one webhook, written in the transaction of the deed.

    Whoever takes it raises `attempts` and may write its result only while that number stands.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("ix_webhook_deliveries_state_due_at", "state", "due_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=lambda: str(uuid4()))
    webhook_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks.id", ondelete="CASCADE"), index=True
    )
    event: Mapped[str] = mapped_column(String(40))
    payload: Mapped[JsonObject]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    state: Mapped[DeliveryState] = mapped_column(String(20), default=DeliveryState.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[float] = mapped_column(Float, default=0.0)  # on the database's clock
    lease_until: Mapped[float | None] = mapped_column(Float)  # on the database's clock
    status: Mapped[int | None]  # of the last answer
    error: Mapped[str | None] = mapped_column(Text)  # why the last attempt came to nothing
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    webhook: Mapped[Webhook] = relationship()
