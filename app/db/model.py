"""A model: a named line of versions."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.actor import Actor
from app.db.base import Base, JsonObject, UtcDateTime, utc_now


class Model(Base):
    """A named line of versions; made by a task that may make it, or by an import."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    # app.registry.floor.ModelGate; NULL: the service's limits hold.
    gate: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    gate_changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    gate_changed_by: Mapped[Actor | None]


class ModelClass(Base):
    """A class a model has learned in any version; its index is given once and never again.

    Once it is retired, `name` is what no class can be called, so that whoever teaches one of the
    same name again takes another index.
    """

    __tablename__ = "model_classes"
    __table_args__ = (
        UniqueConstraint("model_id", "name"),
        UniqueConstraint("model_id", "index"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    index: Mapped[int]
    name: Mapped[str] = mapped_column(String(200))
    # What it was called; NULL: it is not retired.
    retired_name: Mapped[str | None] = mapped_column(String(200))

    @property
    def called(self) -> str:
        """What it is called in versions."""
        return self.retired_name or self.name
