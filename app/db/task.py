"""A task and its events."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.actor import Actor, ActorType, of_name
from app.db.base import Base, JsonObject, UtcDateTime, database_time, next_task, utc_now
from app.db.model import Model


class TaskKind(StrEnum):
    """What a task makes its version of."""

    STEP = "step"  # labelled pictures
    IMPORT = "import"  # a checkpoint that was trained elsewhere
    RETIRE = "retire"  # a version before it, some of whose classes go


class TaskState(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"  # waits for a worker; also after its worker was lost
    VALIDATING = "validating"  # a worker holds it and reads every picture
    TRAINING = "training"  # the step runs
    EVALUATING = "evaluating"  # the new version is scored and exported
    LIVE = "live"  # the end: a version was registered and went live
    HELD = "held"  # the end: a version was registered, the gate said no
    FAILED = "failed"  # the end: `error` says why
    CANCELLED = "cancelled"  # the end: somebody asked for it


RUNNING_STATES = (TaskState.VALIDATING, TaskState.TRAINING, TaskState.EVALUATING)
END_STATES = (TaskState.LIVE, TaskState.HELD, TaskState.FAILED, TaskState.CANCELLED)

_RUNNING_SQL = "state IN ('validating', 'training', 'evaluating')"


def _name(context: Any) -> str | None:
    spec: JsonObject = context.get_current_parameters()["spec"]
    return spec.get("name")


class Task(Base):
    """What a user posted. This row, not a message, is the truth about it.

    A worker may write to the row only while `fence` is the number it claimed the row with.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        UniqueConstraint("submitted_by", "idempotency_key"),
        # Steps of one model run one after another: the database itself holds it.
        Index(
            "uq_tasks_running_model_id",
            "model_id",
            unique=True,
            sqlite_where=text(_RUNNING_SQL),
            postgresql_where=text(_RUNNING_SQL),
        ),
        Index("ix_tasks_state_sequence", "state", "sequence"),
        Index("ix_tasks_model_id_sequence", "model_id", "sequence"),
        Index("ix_tasks_state_finished_at_sequence", "state", "finished_at", "sequence"),
        Index("ix_tasks_model_id_state_sequence", "model_id", "state", "sequence"),
        Index("ix_tasks_model_id_finished_at_sequence", "model_id", "finished_at", "sequence"),
        Index("ix_tasks_key_id_sequence", "key_id", "sequence"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=lambda: str(uuid4()))
    # The order in which tasks were posted: no clock has a say in it. Never NULL; SQLite cannot add
    # a column that says so.
    sequence: Mapped[int] = mapped_column(
        BigInteger, default=next_task(), nullable=True, unique=True, index=True
    )
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    state: Mapped[TaskState] = mapped_column(String(20), default=TaskState.QUEUED)
    kind: Mapped[TaskKind] = mapped_column(
        String(10), default=TaskKind.STEP, server_default=TaskKind.STEP
    )
    spec: Mapped[JsonObject]
    # The spec's, which never changes: lists are searched for it, and a spec is long. NULL: a
    # process wrote the row that knows `spec` alone. `called` is read instead.
    name: Mapped[str | None] = mapped_column(Text, default=_name)
    # Blob key of the posted zip: labelled pictures, or the checkpoint of an import. Of a
    # retirement, which may bring no pictures, its spec.
    dataset: Mapped[str] = mapped_column(String(64), index=True)
    dataset_bytes: Mapped[int] = mapped_column(BigInteger)
    # Blob key of the labelled pictures that score an import, or that a retirement brought.
    evaluation: Mapped[str | None] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=database_time())
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)

    # Whoever posted it; NULL: a process wrote it that knows names alone. `who` is read instead.
    submitter: Mapped[Actor | None] = mapped_column(default=Actor(ActorType.CLI))
    # Name of its API key, "" for none: Idempotency-Keys of one name are told apart from others.
    submitted_by: Mapped[str] = mapped_column(String(100), default="")
    # Whether whoever posted it had scope `admin`: its gate may be laxer than its model's floor.
    by_admin: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    # The key that posted it; NULL: nobody's, posted without a key or on the command line.
    key_id: Mapped[int | None] = mapped_column(ForeignKey("api_keys.id"))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    request_digest: Mapped[str] = mapped_column(String(64))

    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[float | None] = mapped_column(Float)  # on the database's clock
    worker: Mapped[str | None] = mapped_column(String(200))
    tries: Mapped[int] = mapped_column(Integer, default=0)  # since an epoch was finished last
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    cancelled_by: Mapped[Actor | None]  # whoever asked for it

    # Whether it may start from scratch: no version and no other task was there to build on when it
    # was posted.
    may_be_base: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    # Version the step starts from and the live one, both as of its first claim; kept when it
    # resumes.
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("versions.id", use_alter=True, name="fk_tasks_parent_id_versions")
    )
    live_id: Mapped[int | None] = mapped_column(
        ForeignKey("versions.id", use_alter=True, name="fk_tasks_live_id_versions")
    )
    # The task that this one is the preview of.
    preview_of: Mapped[str | None] = mapped_column(ForeignKey("tasks.id"), unique=True, index=True)
    progress: Mapped[JsonObject | None]
    warnings: Mapped[list[str]] = mapped_column(default=list)
    error: Mapped[JsonObject | None]
    version_id: Mapped[int | None] = mapped_column(
        ForeignKey("versions.id", use_alter=True, name="fk_tasks_version_id_versions")
    )

    # How often what it computes at once is halved, because memory ran out.
    halvings: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    # W3C trace context of the request that posted it, where requests are traced.
    traceparent: Mapped[str | None] = mapped_column(String(55))
    # Blob key of its last checkpoint, where workers share nothing but the store.
    checkpoint: Mapped[str | None] = mapped_column(String(64), index=True)
    # Since when no living worker may take it while it waits, and when that was last looked at; on
    # the database's clock (`app.workers.unmet`).
    unmet_since: Mapped[float | None] = mapped_column(Float)
    unmet_seen: Mapped[float | None] = mapped_column(Float)
    # When a failed task's upload and checkpoints were removed; until then it may be tried again.
    tidied_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    model: Mapped[Model] = relationship(lazy="joined")

    @hybrid_property
    def called(self) -> str:
        """What people call it."""
        return str(self.spec.get("name", ""))

    @called.inplace.expression
    @classmethod
    def _called(cls) -> ColumnElement[str]:
        return func.coalesce(cls.name, cls.spec["name"].as_string(), "")

    @property
    def who(self) -> Actor:
        """Who posted it."""
        return self.submitter or of_name(self.submitted_by)

    @property
    def uploads(self) -> tuple[str, ...]:
        """Blob keys of what was posted."""
        return tuple(key for key in (self.dataset, self.evaluation) if key is not None)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Blob keys of all that it needs to run, and of nothing else."""
        return (*self.uploads, *([self.checkpoint] if self.checkpoint else []))


class TaskLog(Base):
    """The last lines that a task's training process wrote, over all its tries."""

    __tablename__ = "task_logs"

    task_id: Mapped[str] = mapped_column(
        ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True
    )
    text: Mapped[str] = mapped_column(Text)


class TaskEvent(Base):
    """One thing that happened to a task, in order; what `/tasks/{id}/events` streams.

    Ids are in the order of the commits: see `app.tasks.telling`.
    """

    __tablename__ = "task_events"
    __table_args__ = (
        Index("ix_task_events_task_id_kind_id", "task_id", "kind", "id"),
        {"sqlite_autoincrement": True},  # an id that was deleted is given to no other
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id"), index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    kind: Mapped[str] = mapped_column(String(20))  # state | progress | epoch | warning | labels
    data: Mapped[JsonObject]
