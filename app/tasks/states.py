"""What the stored state of a task is called outside: state, phase and outcome. The one place."""

from collections.abc import Collection
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from app.db import TaskState


class TaskStateJson(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskPhase(StrEnum):
    """What a running task does."""

    VALIDATING = "validating"
    TRAINING = "training"
    EVALUATING = "evaluating"


class TaskOutcome(StrEnum):
    """What the gate said of the version that a task made, when the task ended."""

    LIVE = "live"
    HELD = "held"


ENDED = (TaskStateJson.SUCCEEDED, TaskStateJson.FAILED, TaskStateJson.CANCELLED)


class Standing(NamedTuple):
    """A stored state, as it is told.

    Attributes:
        state: where the task is.
        phase: what it does; None unless it runs.
        outcome: what became of its version; None unless it succeeded.
    """

    state: TaskStateJson
    phase: TaskPhase | None = None
    outcome: TaskOutcome | None = None

    def said(self) -> dict[str, str]:
        """Return what there is to say, by name."""
        return {name: str(word) for name, word in self._asdict().items() if word is not None}


_STANDINGS = MappingProxyType(
    {
        TaskState.QUEUED: Standing(TaskStateJson.QUEUED),
        TaskState.VALIDATING: Standing(TaskStateJson.RUNNING, phase=TaskPhase.VALIDATING),
        TaskState.TRAINING: Standing(TaskStateJson.RUNNING, phase=TaskPhase.TRAINING),
        TaskState.EVALUATING: Standing(TaskStateJson.RUNNING, phase=TaskPhase.EVALUATING),
        TaskState.LIVE: Standing(TaskStateJson.SUCCEEDED, outcome=TaskOutcome.LIVE),
        TaskState.HELD: Standing(TaskStateJson.SUCCEEDED, outcome=TaskOutcome.HELD),
        TaskState.FAILED: Standing(TaskStateJson.FAILED),
        TaskState.CANCELLED: Standing(TaskStateJson.CANCELLED),
    }
)


def standing(stored: str) -> Standing:
    """Return how a stored state is told.

    Raises:
        ValueError: there is no such state.
    """
    return _STANDINGS[TaskState(stored)]


def stored_states(
    states: Collection[TaskStateJson], outcomes: Collection[TaskOutcome]
) -> tuple[TaskState, ...]:
    """Return which stored states are told as one of `states` and one of `outcomes`; empty: any."""
    return tuple(
        stored
        for stored, told in _STANDINGS.items()
        if (not states or told.state in states) and (not outcomes or told.outcome in outcomes)
    )
