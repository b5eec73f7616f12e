"""What events look like: the same envelope in streams, in pages and, around its own types, in
what webhooks are sent."""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.db import TaskEvent
from app.db.base import JsonObject
from app.errors.schemas import ProblemJson
from app.records.paging import Page
from app.records.stored import ShownAs, shown, with_defaults
from app.tasks.states import TaskOutcome, TaskPhase, TaskStateJson, standing
from sats_core.label_report import LabelReport

_TASK = "2ccf943e-3427-467c-a8a9-3dd85cad8432"


class EventType(StrEnum):
    """What happens to a task."""

    STATE = "task.state"
    PROGRESS = "task.progress"
    EPOCH = "task.epoch"
    WARNING = "task.warning"
    LABELS = "task.labels"


EVENT_TYPES: Mapping[str, EventType] = MappingProxyType(
    {one.removeprefix("task."): one for one in EventType}
)
"""Types of events by what the table calls them."""


class Envelope(BaseModel):
    """What every event says."""

    id: str = Field(description="Its id.")
    type: str = Field(description="What happened, and so what `data` is.")
    at: datetime = Field(description="When.")
    task: str | None = Field(description="Id of the task; null where there is none.")
    model: str = Field(description="The model.")


class StateData(BaseModel):
    """The state that a task entered."""

    state: TaskStateJson = Field(description="As in the task.")
    phase: TaskPhase | None = Field(None, description="As in the task.")
    outcome: TaskOutcome | None = Field(None, description="As in the task.")
    version: int | None = Field(None, description="Number of the version that it made.")
    error: Annotated[JsonObject, ShownAs(ProblemJson)] | None = Field(
        None, description="Why it failed; null unless it did."
    )


class ProgressJson(BaseModel):
    """How far the present phase is."""

    phase: TaskPhase = Field(description="What it is the progress of.")
    epoch: int = Field(0, description="Epochs finished; 0 outside training.")
    epochs: int = Field(0, description="Epochs in all; 0 outside training, 1 by `frozen`.")
    step: int = Field(description="Steps (training) or pictures (otherwise) done.")
    steps: int = Field(description="Steps or pictures in all.")
    losses: dict[str, float] = Field(
        default_factory=dict, description="Each weighted loss term, mean since the epoch began."
    )
    learning_rate: float | None = Field(None, description="Learning rate now.")
    rate: float | None = Field(None, description="Pictures per second.")
    eta_seconds: float | None = Field(None, description="Seconds left in this phase.")


class WarningData(BaseModel):
    """What the user should know though the task goes on."""

    message: str = Field(description="In words; also in the task's `warnings`.")


class TaskEventBase(Envelope):
    """What every event of a task says."""

    id: str = Field(
        description="Its number: events have higher ones the later they can be seen.",
        pattern="^[0-9]+$",
    )
    task: str = Field(description="Id of the task.")
    model: str = Field(description="The model that learns.")


def _example(number: int, type_: EventType, **data: Any) -> ConfigDict:
    event: JsonObject = {"id": str(number), "type": type_, "at": "2026-11-21T16:51:04.201337Z"}
    event |= {"task": _TASK, "model": "default", "data": data}
    return ConfigDict(json_schema_extra={"examples": [event]})


_NOTHING_ELSE = {"phase": None, "outcome": None, "version": None, "error": None}
_PROGRESS = {"phase": "training", "epoch": 3, "epochs": 30, "step": 36, "steps": 360} | {
    "losses": {"cross_entropy": 0.4212, "distillation": 0.0831},
    "learning_rate": 0.00091,
    "rate": 41.3,
    "eta_seconds": 94.0,
}


class TaskStateEvent(TaskEventBase):
    """A task entered a state or a phase."""

    type: Literal[EventType.STATE] = Field(description="`task.state`.")
    data: StateData = Field(description="The state.")

    model_config = _example(
        12, EventType.STATE, **{**_NOTHING_ELSE, "state": "running", "phase": "training"}
    )


class TaskProgressEvent(TaskEventBase):
    """A task got further; deleted when the task has ended."""

    type: Literal[EventType.PROGRESS] = Field(description="`task.progress`.")
    data: Annotated[JsonObject, ShownAs(ProgressJson)] = Field(description="How far it is.")

    model_config = _example(14, EventType.PROGRESS, **_PROGRESS)


class TaskEpochEvent(TaskEventBase):
    """A task finished an epoch: a point of its curves."""

    type: Literal[EventType.EPOCH] = Field(description="`task.epoch`.")
    data: Annotated[JsonObject, ShownAs(ProgressJson)] = Field(
        description="How far it is; `losses` are means over this epoch."
    )

    model_config = _example(15, EventType.EPOCH, **_PROGRESS)


class TaskWarningEvent(TaskEventBase):
    """Something came up that the user should know."""

    type: Literal[EventType.WARNING] = Field(description="`task.warning`.")
    data: Annotated[JsonObject, ShownAs(WarningData)] = Field(description="What it is.")

    model_config = _example(16, EventType.WARNING, message="class 'boat' is in 3 pictures only")


class TaskLabelsEvent(TaskEventBase):
    """The labels of a task were looked at."""

    type: Literal[EventType.LABELS] = Field(description="`task.labels`.")
    data: Annotated[JsonObject, ShownAs(LabelReport)] = Field(
        description="The task's `labels` from now on."
    )


TaskEventJson = (
    TaskStateEvent | TaskProgressEvent | TaskEpochEvent | TaskWarningEvent | TaskLabelsEvent
)


class EventPage(Page[Annotated[TaskEventJson, Field(discriminator="type")]]):
    """Some events, the oldest first."""


class EventsTokenJson(BaseModel):
    """What lets a browser follow one task."""

    token: str = Field(
        description="Opens this task's events and nothing else; never stored, shown once.",
        examples=["1795280000.0f5b..."],
    )
    expires_at: datetime = Field(description="Until when a stream can be opened with it.")
    url: str = Field(
        description="What to give to `EventSource`, relative to the service.",
        examples=["/tasks/2ccf943e-3427-467c-a8a9-3dd85cad8432/events?token=1795280000.0f5b..."],
    )


def stored_kinds(types: Collection[EventType]) -> list[str]:
    """Return what the table calls some types of events."""
    return [kind for kind, type_ in EVENT_TYPES.items() if type_ in types]


def told_event(row: TaskEvent, model: str) -> TaskEventJson:
    """Return a stored event in its envelope.

    Args:
        row: the event, of whatever version of the service.
        model: name of its task's model.
    """
    envelope = {"id": str(row.id), "type": EVENT_TYPES[row.kind], "at": row.at}
    envelope |= {"task": row.task_id, "model": model}
    match row.kind:
        case "state":
            return TaskStateEvent(**envelope, data=state_data(row.data))
        case "progress":
            return TaskProgressEvent(**envelope, data=with_defaults(ProgressJson, row.data))
        case "epoch":
            return TaskEpochEvent(**envelope, data=with_defaults(ProgressJson, row.data))
        case "warning":
            return TaskWarningEvent(**envelope, data=row.data)
        case _:
            return TaskLabelsEvent(**envelope, data=_labels_data(row.data))


def _labels_data(stored: JsonObject) -> JsonObject:
    """Return how a stored `LabelReport` is told; as it is where it cannot be read any more."""
    report = shown(LabelReport, stored)
    return stored if report is None else report.model_dump(mode="json", by_alias=True)


def state_data(stored: JsonObject) -> StateData:
    """Return how the data of a stored event of a state is told.

    Args:
        stored: `state` is a stored state; `version` and `error` where there are.
    """
    told = standing(stored["state"])
    return StateData(**{**stored, **told._asdict()})
