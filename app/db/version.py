"""A version, what it was scored on, and which one is live."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.actor import Actor, ActorType, name_of, of_name
from app.db.base import Base, JsonObject, UtcDateTime, database_time
from app.db.model import Model


class Erasure(StrEnum):
    """How far the deletion of pictures is that a version was made to bring about."""

    WAITS = "waits"  # until it is live
    BEGUN = "begun"  # `receipt` says, unsigned, what is to be deleted; rows say that it is
    DONE = "done"  # `receipt` is signed


class Version(Base):
    """An immutable, numbered result of one step, one import or one retirement."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        Index("ix_versions_model_id_deleted_at", "model_id", "deleted_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id"), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=database_time())

    classes: Mapped[list[JsonObject]]  # channel order: {index, name, colour, step}
    new_classes: Mapped[list[str]]
    settings: Mapped[JsonObject]  # as they were run; of an import its backbone and size alone
    # "scratch", "timm hub: ...", file, "imported: ..."
    backbone_start: Mapped[str] = mapped_column(String(300))
    scores: Mapped[JsonObject]  # sats_core.evaluation.scores.Scores
    # sats_core.evaluation.confusion.Confusion, as many numbers as classes squared; NULL: no picture
    # was scored, or it was made before they were kept.
    confusion: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    # The gate's verdict with every figure it looked at; NULL: an import, which no gate judges.
    gate: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    # Where an import came from; NULL: a step.
    origin: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    files: Mapped[JsonObject]  # file name -> {"blob": key, "bytes": n}
    seconds: Mapped[float]  # wall time of the step or the import
    # sats_core.evaluation.forgetting.ForgettingReport; None in a base step
    forgetting_report: Mapped[JsonObject | None]
    replayed_pictures: Mapped[int] = mapped_column(server_default="0")
    # app.retirement.records.Retirement: what was taken away, and what was measured of it; NULL: the
    # version was not made by a retirement.
    retirement: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    # NULL: no picture is to be deleted.
    erasure: Mapped[Erasure | None] = mapped_column(String(10), index=True)
    # app.retirement.records.Receipt, signed when `erasure` is done.
    receipt: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    # When its files were deleted; the row stays, so that lineages and numbers have no gaps.
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted_by: Mapped[Actor | None]

    model: Mapped[Model] = relationship(lazy="joined")
    parent: Mapped["Version | None"] = relationship(remote_side=[id])


class HeldOutSet(Base):
    """Held-out pictures of one task, kept so that later versions are scored on its classes.

    The row stays when the pictures are deleted.
    """

    __tablename__ = "held_out_sets"

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), unique=True)
    blob: Mapped[str] = mapped_column(String(64))
    classes: Mapped[list[str]]  # what its pictures are labelled for; they say nothing of others
    pictures: Mapped[int]
    # NULL: a process of before migration 0026 wrote it, and no worker has asked the store yet.
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deleted_by: Mapped[Actor | None]


class AliasMove(Base):
    """One move of an alias; the last one tells where it points. Rows are only ever added."""

    __tablename__ = "alias_moves"
    __table_args__ = (UniqueConstraint("model_id", "alias", "sequence"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    alias: Mapped[str] = mapped_column(String(50), default="live")
    sequence: Mapped[int]  # 1, 2, ...; two movers at once collide here
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    kind: Mapped[str] = mapped_column(String(20))  # gate | import | promote | rollback
    moved_at: Mapped[datetime] = mapped_column(UtcDateTime, default=database_time())
    # Whoever moved it; NULL: a process wrote it that knows names alone. `who` is read instead.
    actor: Mapped[Actor | None]
    # Processes from before `actor` read this and write it alone; a later migration drops it.
    moved_by: Mapped[str] = mapped_column(String(100), default=name_of("actor"))

    version: Mapped[Version] = relationship(lazy="joined")

    @property
    def who(self) -> Actor:
        """Who moved it."""
        if self.actor is not None:
            return self.actor
        if self.kind == "gate":
            return Actor(ActorType.WORKER)
        # An import by nobody's key was called by what it is.
        return of_name("" if self.kind == self.moved_by == "import" else self.moved_by)
