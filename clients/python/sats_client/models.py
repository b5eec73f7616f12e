"""What the service tells of models and their versions: small records, as those of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sats_client._reading import READ_FROM
from sats_client.records import Actor, Phase, TaskKind
from sats_client.retirements import Retirement


class MoveKind(StrEnum):
    """What moved `live`."""

    GATE = "gate"
    IMPORT = "import"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Class:
    """A class of a version.

    Attributes:
        index: its value in masks; never changes.
        name: what it is called.
        color: `#rrggbb`.
        step: that brought it; 0 is the base step.
    """

    index: int
    name: str
    color: str
    step: int


@dataclass(frozen=True)
class LearnedClass:
    """A class of a version, and the number of the version that brought it."""

    index: int
    name: str
    color: str
    version: int


@dataclass(frozen=True)
class Classes:
    """The classes of a version; background, index 0, comes first."""

    model: str
    version: int
    classes: tuple[LearnedClass, ...]


@dataclass(frozen=True)
class Scores:
    """How well a version does on held-out pictures."""

    pictures: int
    iou: Mapping[str, float | None] = field(hash=False)
    introduced: Mapping[str, float | None] = field(hash=False)
    forgetting: Mapping[str, float] = field(hash=False)
    miou_all: float | None
    miou_old: float | None
    miou_new: float | None
    mean_forgetting: float | None


@dataclass(frozen=True)
class Gate:
    """Whether a version went live by itself, and why not."""

    passed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A file of a version."""

    name: str
    bytes: int
    sha256: str
    href: str


@dataclass(frozen=True)
class Version:
    """What came out of a task: immutable, numbered from 1.

    Attributes:
        number: which one of its model it is; `version` says the same, as every other record does.
    """

    model: str
    number: int = field(metadata={READ_FROM: ("version", "number")})
    kind: TaskKind | str
    created_at: datetime
    live: bool
    parent: int | None
    lineage: tuple[int, ...]
    classes: tuple[Class, ...]
    new_classes: tuple[str, ...]
    method: str | None
    backbone: str
    task: str
    scores: Scores
    gate: Gate | None
    files: tuple[File, ...]
    seconds: float
    deleted_at: datetime | None = None
    effective_settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    retirement: Retirement | None = None

    @property
    def version(self) -> int:
        """Return its number in the model."""
        return self.number


@dataclass(frozen=True)
class Move:
    """A move of the alias `live`.

    Attributes:
        etag: names the alias as this move left it; what `promote` compares.
    """

    sequence: int
    version: int
    kind: MoveKind | str
    moved_at: datetime
    by: Actor
    etag: str | None = None


@dataclass(frozen=True)
class MeanScores:
    """Means of a version's scores, 0 to 1; None where nothing was measured."""

    miou_old: float | None
    miou_new: float | None
    miou_all: float | None


@dataclass(frozen=True)
class Point:
    """What a version scores, as a chart over versions shows it; None where it was not measured.

    Attributes:
        classes: how many it knows, background not counted.
        iou: of every class, background included.
    """

    version: int
    created_at: datetime
    live: bool
    classes: int
    miou_all: float | None
    miou_old: float | None
    miou_new: float | None
    mean_forgetting: float | None
    iou: Mapping[str, float | None] = field(hash=False)


@dataclass(frozen=True)
class Curve:
    """Some of a model's versions, the oldest first.

    Attributes:
        next_before: versions with lower numbers are asked for by it; None: there are none.
    """

    model: str
    points: tuple[Point, ...]
    next_before: int | None = None


@dataclass(frozen=True)
class Curves:
    """One curve a model."""

    models: tuple[Curve, ...]


@dataclass(frozen=True)
class LiveVersion:
    """The version of a model that answers."""

    version: int
    since: datetime
    kind: MoveKind | str
    by: Actor
    classes: tuple[Class, ...]
    scores: MeanScores


@dataclass(frozen=True)
class TaskCounts:
    """How many tasks of a model are in each state."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True)
class RunningTask:
    """The task of a model that runs."""

    id: str
    name: str
    phase: Phase | str | None
    started_at: datetime | None
    worker: str
    worker_alive: bool


@dataclass(frozen=True)
class ModelOverview:
    """A model at a glance."""

    name: str
    created_at: datetime
    versions: int
    live: LiveVersion | None
    tasks: TaskCounts
    running: RunningTask | None


@dataclass(frozen=True)
class Workers:
    """Workers that hold a task, heard of in time and not, and those that wait for one."""

    busy: tuple[str, ...]
    lost: tuple[str, ...]
    restarts: int | None
    idle: tuple[str, ...] = ()  # none of a service from before it told them


class Device(StrEnum):
    """What a worker trains on."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True)
class WorkerTask:
    """The task that a worker holds."""

    id: str
    name: str
    model: str


@dataclass(frozen=True)
class Worker:
    """A worker process: what it trains on, and what it does.

    Attributes:
        alive: whether it was heard of in time.
        task: what it holds; None: it waits.
        device: what it trains on.
        devices: how many of them it sees.
        memory_mib: of one of them.
    """

    name: str
    alive: bool
    task: WorkerTask | None
    device: Device | str
    device_name: str
    devices: int
    memory_mib: int
    version: str
    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True)
class Overview:
    """Everything at a glance."""

    models: tuple[ModelOverview, ...]
    workers: Workers
