"""How a task's state is called on pages."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.tasks.listing import Wanted
from app.tasks.schemas import TaskSummary
from app.tasks.states import ENDED, TaskOutcome, TaskPhase, TaskStateJson

PHASES = tuple(str(phase) for phase in TaskPhase)
UNENDED = (TaskStateJson.QUEUED, TaskStateJson.RUNNING)

WORDS: Mapping[str, str] = {
    "queued": "Queued",
    "running": "Running",
    "live": "Went live",
    "held": "Held",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
"""States, and the outcomes of tasks that succeeded: what lists can be narrowed to."""


@dataclass(frozen=True)
class Shown:
    """A task's state as pages show it.

    Attributes:
        state: where it is.
        phase: of one that runs.
        outcome: of one that succeeded: what the gate decided.
    """

    state: TaskStateJson
    phase: TaskPhase | None
    outcome: TaskOutcome | None

    @property
    def look(self) -> str:
        """How it is coloured."""
        return str(self.outcome or self.state)

    @property
    def word(self) -> str:
        """What it is called."""
        return self.phase.capitalize() if self.phase else WORDS[self.look]

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ENDED


def shown(task: TaskSummary) -> Shown:
    """Return how a task's state is shown."""
    return Shown(task.state, task.phase, task.outcome)


def narrowed(word: str, model: str | None, text: str | None) -> Wanted:
    """Return which tasks are in a list of one of `WORDS`; of any where the word is none."""
    states = [one for one in TaskStateJson if one == word and word in WORDS]
    outcomes = [one for one in TaskOutcome if one == word]
    return Wanted(model=model, states=states, outcomes=outcomes, text=text)
