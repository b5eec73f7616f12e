"""Projects of Label Studio that models learn from."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Boolean, Float, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.actor import Actor
from app.db.base import Base, UtcDateTime, database_time


class ProjectState(StrEnum):
    """What became of the last import of a project."""

    NEVER = "never"  # none was asked for
    WAITING = "waiting"  # for a worker, or for the end of the task before
    FETCHING = "fetching"  # a worker fetches annotations and pictures
    QUEUED = "queued"  # a task was made of them
    NOTHING_NEW = "nothing_new"  # they label no class that the model does not know
    FAILED = "failed"  # `error` says why


class LabelStudioProject(Base):
    """A project and a model that learns from it; one import of it runs at a time.

    Whoever takes it raises `attempts` and may write to it only while that number stands.
    """

    __tablename__ = "label_studio_projects"
    __table_args__ = (UniqueConstraint("project", "model"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[int]  # its number in Label Studio
    model: Mapped[str] = mapped_column(String(100))  # a name; the model may come later
    annotations: Mapped[int] = mapped_column(default=0)  # new ones since an import was asked for
    # Whether an import was asked for that has not begun: one more, however often it was.
    wanted: Mapped[bool] = mapped_column(Boolean, default=False)
    # Who asked for the last import: its task will be theirs.
    asked_by: Mapped[Actor | None]
    asked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    by_admin: Mapped[bool] = mapped_column(Boolean, default=False)
    key_id: Mapped[int | None] = mapped_column(ForeignKey("api_keys.id"))
    create: Mapped[bool] = mapped_column(Boolean, default=False)  # whether it may make the model
    # Who asked, while that one was fetched, for the next: the first goes on with its own rights.
    next_asked_by: Mapped[Actor | None]
    next_by_admin: Mapped[bool] = mapped_column(Boolean, default=False)
    next_key_id: Mapped[int | None] = mapped_column(ForeignKey("api_keys.id"))
    next_create: Mapped[bool] = mapped_column(Boolean, default=False)

    state: Mapped[ProjectState] = mapped_column(String(20), default=ProjectState.NEVER)
    imports: Mapped[int] = mapped_column(default=0)  # begun so far; the number of the last one
    tries: Mapped[int] = mapped_column(default=0)  # of the last one
    attempts: Mapped[int] = mapped_column(default=0)  # the fence: times that it was taken
    due_at: Mapped[float] = mapped_column(Float, default=0.0)  # on the database's clock
    lease_until: Mapped[float | None] = mapped_column(Float)  # on the database's clock
    pictures: Mapped[int] = mapped_column(default=0)  # fetched
    pictures_in_all: Mapped[int] = mapped_column(default=0)
    classes: Mapped[list[str]] = mapped_column(default=list)  # that the pictures show
    warnings: Mapped[list[str]] = mapped_column(default=list)
    error: Mapped[str | None] = mapped_column(Text)
    task_id: Mapped[str | None] = mapped_column(
        ForeignKey("tasks.id", ondelete="SET NULL"), index=True
    )
    changed_at: Mapped[datetime] = mapped_column(
        UtcDateTime, default=database_time(), onupdate=database_time()
    )
