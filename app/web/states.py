"""How a task's state is called on pages: the one place that knows how it is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.db import END_STATES, RUNNING_STATES, TaskState
from app.tasks.schemas import TaskSummary

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
PHASES = ("validating", "training", "evaluating")

FILTERS: Mapping[str, Sequence[TaskState]] = {
    "queued": (TaskState.QUEUED,),
    "running": RUNNING_STATES,
    "live": (TaskState.LIVE,),
    "held": (TaskState.HELD,),
    "failed": (TaskState.FAILED,),
    "cancelled": (TaskState.CANCELLED,),
}
"""What lists of tasks can be narrowed to."""

UNENDED = (TaskState.QUEUED, *RUNNING_STATES)
ENDED = END_STATES

WORDS = {
    "queued": "Queued",
    "running": "Running",
    "live": "Went live",
    "held": "Held",
    "failed": "Failed",
    "cancelled": "Cancelled",
}


@dataclass(frozen=True)
class Shown:
    """A task's state in words.

    Attributes:
        state: where it is.
        phase: of one that runs.
        outcome: of one that succeeded: what the gate decided.
    """

    state: State
    phase: str | None = None
    outcome: Literal["live", "held"] | None = None

    @property
    def look(self) -> str:
        """How it is coloured."""
        return self.outcome or self.state

    @property
    def word(self) -> str:
        """What it is called."""
        return self.phase.capitalize() if self.phase else WORDS[self.look]

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in ("queued", "running")


def shown(task: TaskSummary) -> Shown:
    """Return how a task's state is shown."""
    match task.state:
        case TaskState.LIVE:
            return Shown("succeeded", outcome="live")
        case TaskState.HELD:
            return Shown("succeeded", outcome="held")
        case TaskState.QUEUED:
            return Shown("queued")
        case TaskState.FAILED:
            return Shown("failed")
        case TaskState.CANCELLED:
            return Shown("cancelled")
        case running:
            return Shown("running", phase=str(running))
