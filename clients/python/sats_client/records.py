"""What the service tells: small records that never change.

Names are those of the service's JSON (`docs/openapi.json`), less what a client seldom needs. Fields
and values that a later service adds are no error: an unknown field is passed over, an unknown value
of an enumeration stays a text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sats_client.errors import ErrorDetail


class State(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Phase(StrEnum):
    """What a running task does."""

    VALIDATING = "validating"
    TRAINING = "training"
    EVALUATING = "evaluating"


class Outcome(StrEnum):
    """What the gate decided when a task succeeded."""

    LIVE = "live"
    HELD = "held"


class ActorType(StrEnum):
    """Who does things."""

    KEY = "key"
    KEYLESS = "keyless"
    WORKER = "worker"
    CLI = "cli"


class TaskKind(StrEnum):
    """What a task does."""

    STEP = "step"
    IMPORT = "import"
    RETIRE = "retire"


@dataclass(frozen=True)
class Actor:
    """Who did something: a key, a call without one, a worker, or somebody on the machine."""

    type: ActorType | str
    name: str


@dataclass(frozen=True)
class Progress:
    """How far the present phase of a task is."""

    phase: Phase | str
    step: int
    steps: int
    epoch: int = 0
    epochs: int = 0
    losses: Mapping[str, float] = field(default_factory=dict, hash=False)
    learning_rate: float | None = None
    rate: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True)
class Failure:
    """Why a task failed."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[ErrorDetail, ...] = ()


@dataclass(frozen=True)
class TaskRecord:
    """What was posted, and what became of it."""

    id: str
    name: str
    model: str
    kind: TaskKind | str
    state: State | str
    phase: Phase | str | None
    outcome: Outcome | str | None
    classes: tuple[str, ...] | None
    method: str | None
    version: int | None
    queue_place: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    submitted_by: Actor
    cancelled_by: Actor | None = None
    progress: Progress | None = None
    warnings: tuple[str, ...] = ()
    error: Failure | None = None
    preview: str | None = None
    preview_of: str | None = None
    waiting_for: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in ENDED

    @property
    def live(self) -> bool:
        """Whether its version went live by itself when it ended."""
        return self.outcome == Outcome.LIVE

    @property
    def held(self) -> bool:
        """Whether the gate held its version back; `promote` serves it all the same."""
        return self.outcome == Outcome.HELD


@dataclass(frozen=True)
class Event:
    """Something that happened to a task.

    Attributes:
        id: its number; empty where a task was asked for and no stream told it.
        type: `task.state`, `task.progress`, `task.epoch`, `task.warning`, `task.labels`, ...
        at: when.
        task: id of the task; None where there is none.
        model: that it concerns.
        data: more, by its type.
    """

    id: str
    type: str
    at: datetime
    task: str | None
    model: str | None
    data: Mapping[str, Any] = field(hash=False)
