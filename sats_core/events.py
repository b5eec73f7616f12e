"""What a running step says, a JSON line each."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from sats_core.label_report import LabelReport
from sats_core.record import Record


class PhaseEvent(Record):
    """The step entered a phase."""

    event: Literal["phase"] = "phase"
    phase: Literal["validating", "training", "evaluating"]


class ProgressEvent(Record):
    """How far the phase is.

    Attributes:
        epoch: epochs finished, of `epochs`; 0 outside training.
        step: steps (training) or pictures (otherwise) done, of `steps`.
        losses: each weighted loss term, mean over the steps since the epoch began.
        rate: pictures per second.
        eta_seconds: seconds left in this phase.
        epoch_end: whether this event closes an epoch.
    """

    event: Literal["progress"] = "progress"
    phase: Literal["validating", "training", "evaluating"]
    epoch: int = 0
    epochs: int = 0
    step: int
    steps: int
    losses: dict[str, float] = Field(default_factory=dict)
    learning_rate: float | None = None
    rate: float | None = None
    eta_seconds: float | None = None
    epoch_end: bool = False


class WarningEvent(Record):
    """Something the user should know, though the step goes on."""

    event: Literal["warning"] = "warning"
    message: str


class LabelsEvent(Record):
    """The labels were looked at; what is suspect comes as warnings besides."""

    event: Literal["labels"] = "labels"
    report: LabelReport


class Fault(Record):
    """One thing at fault in the input."""

    reason: str
    file: str | None = None
    class_name: str | None = None
    code: str = "invalid"


Cause = Literal["input", "memory", "disk", "export"]


class FailedEvent(Record):
    """The step cannot go on.

    Attributes:
        cause: what is at fault: the input (trying again would give the same), the machine's memory,
            a full disk, or the export of the trained model.
        message: what happened, for the person who posted the task.
        faults: every file or class at fault, where the input is.
    """

    event: Literal["failed"] = "failed"
    cause: Cause = "input"
    message: str
    faults: tuple[Fault, ...] = ()


class DoneEvent(Record):
    """`result.json` and everything beside it is written."""

    event: Literal["done"] = "done"


Event = PhaseEvent | ProgressEvent | WarningEvent | LabelsEvent | FailedEvent | DoneEvent

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: str | bytes) -> Event:
    """Read one JSON line.

    Raises:
        pydantic.ValidationError: the line is no event.
    """
    return _EVENT.validate_json(line)
