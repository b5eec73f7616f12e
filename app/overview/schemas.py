"""What comes out of `/admin/overview`."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.admin.schemas import ClassJson, MoveKind
from app.audit.schemas import ActorJson
from app.tasks.states import TaskOutcome, TaskPhase


class MeanScoresJson(BaseModel):
    """Means of a version's scores, 0 to 1; null where nothing was measured."""

    miou_old: float | None = Field(
        description="mIoU of background and the classes known before its step."
    )
    miou_new: float | None = Field(description="mIoU of the classes that its step brought.")
    miou_all: float | None = Field(description="mIoU of background and all classes.")


class LiveVersionJson(BaseModel):
    """The version that `/segment` uses."""

    version: int = Field(description="Its number.", examples=[2])
    since: datetime = Field(description="When `live` came to point at it.")
    kind: MoveKind = Field(description="What moved `live` there.")
    by: ActorJson = Field(description="Who moved it there.")
    classes: list[ClassJson] = Field(
        description="Its classes in channel order; background, index 0, comes first."
    )
    scores: MeanScoresJson = Field(description="How good it is on held-out pictures.")


class TaskCountsJson(BaseModel):
    """How many tasks of a model are in each state."""

    queued: int = Field(0, description="Wait for a worker.")
    running: int = Field(0, description="Held by a worker: one at most.")
    succeeded: int = Field(0, description="Have made a version.")
    failed: int = Field(0, description="Have failed.")
    cancelled: int = Field(0, description="Were cancelled.")


class RunningTaskJson(BaseModel):
    """The task of a model that runs."""

    id: str = Field(description="Its id.")
    name: str = Field(description="What people call it.")
    phase: TaskPhase | None = Field(description="What it is doing.")
    started_at: datetime | None = Field(description="When a worker first took it.")
    worker: str = Field(description="The worker that holds it.", examples=["host:4711"])
    worker_alive: bool = Field(
        description="Whether that worker was heard of in time; false: it is lost, and a sweep is "
        "about to queue the task again."
    )


class EndedTaskJson(BaseModel):
    """A task that has ended."""

    id: str = Field(description="Its id.")
    name: str = Field(description="What people call it.")
    state: Literal["succeeded", "failed", "cancelled"] = Field(description="How it ended.")
    outcome: TaskOutcome | None = Field(
        description="What the gate decided of its version; null unless it `succeeded`."
    )
    version: int | None = Field(description="Number of the version it made.")
    finished_at: datetime = Field(description="When it ended.")


class ModelOverviewJson(BaseModel):
    """A model at a glance."""

    name: str = Field(description="Its name.", examples=["default"])
    created_at: datetime = Field(description="When it was made.")
    versions: int = Field(description="How many versions it has; deleted ones do not count.")
    live: LiveVersionJson | None = Field(description="What is live; null before the first.")
    tasks: TaskCountsJson = Field(description="How many tasks are in each state.")
    running: RunningTaskJson | None = Field(description="The task that runs now; null: none.")
    ended: list[EndedTaskJson] = Field(description="The tasks that ended last, the newest first.")


class WorkersJson(BaseModel):
    """What the service knows of its workers; `GET /admin/workers` tells more of each."""

    busy: list[str] = Field(
        description="Workers that hold a task and were heard of in time.",
        examples=[["host:4711"]],
    )
    lost: list[str] = Field(description="Workers that hold a task and were not.", examples=[[]])
    idle: list[str] = Field(
        description="Workers that are alive and wait for a task.", examples=[["host:4712"]]
    )
    restarts: int | None = Field(
        description="How often `sats serve` started its worker again, because it had ended; null "
        "where it runs none.",
        examples=[0],
    )


class OverviewJson(BaseModel):
    """Everything at a glance."""

    models: list[ModelOverviewJson] = Field(
        description="Every model that the key may use, by name."
    )
    workers: WorkersJson = Field(description="Whether anybody works.")
