"""What the demo does and what it claims: every number of it, in one place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MODEL = "demo"
OLD_CLASSES = ("mushroom", "fish", "leaf")
NEW_CLASSES = ("cup",)
CLASSES = (*OLD_CLASSES, *NEW_CLASSES)
COLOURS = ((226, 58, 70), (30, 136, 229), (67, 170, 60), (255, 168, 0))
"""RGB in which the result's pictures show `CLASSES`."""

# What must hold, or the demo fails.
NEW_CLASS_FOUND = 0.5  # least IoU of every new class
OLD_CLASSES_LOSE = 0.05  # most mIoU that the old classes lose with SATS
FINETUNING_LOSES_MORE = 0.2  # least mIoU that plain fine-tuning loses beyond that


@dataclass(frozen=True)
class Way:
    """One way of adding the new classes.

    Attributes:
        key: its name in records.
        heading: of its column in tables and figures, behind "after".
        spec: what its task asks for beside the schedule.
        live: whether its version may go live. One at most, and the last: all ways start from the
            same version.
    """

    key: str
    heading: str
    spec: Mapping[str, Any]
    live: bool = False


EXPECTED = {"presence": 0.6}
"""Every picture that the demo is judged on shows a cup; without a word the service expects the
fourth of four classes in one of four."""

WAYS = (
    # What it forgets it has forgotten after some epochs; more would only take longer.
    Way("finetuned", "fine-tuning", {"method": "finetune", "epochs": 3}),
    # The service's default method: seconds, and no training of the backbone.
    Way("frozen", "frozen", {"method": "frozen", "method_settings": EXPECTED}),
    # What to ask for where a new class looks like nothing that the model knows.
    Way("sats", "SATS", {"method": "sats_plus", "method_settings": EXPECTED}, live=True),
)


def _base() -> dict[str, Any]:
    # Trained from scratch, so that the demo shows the same on every machine and loads nothing.
    return {
        "pretrained": False,
        "epochs": 11,
        "batch_size": 16,
        "learning_rate": 1.7e-3,
        "method": "finetune",
    }


def _step() -> dict[str, Any]:
    return {"epochs": 15, "batch_size": 16, "learning_rate": 1.7e-3}


@dataclass(frozen=True)
class Plan:
    """Pictures, schedule and service of one run of the demo.

    Attributes:
        seed: of every picture and of all training.
        threads: of the service's training; None leaves it to the service.
        size: side of the training pictures and of what the model sees, pixels.
        base_pictures: of the first task.
        base_held_out: share of those that are not trained on; enough for four scores, few enough
            for every version to be scored on them in seconds.
        step_pictures: of the second.
        showcase_pictures: that no task sees.
        showcase_size: their side, pixels.
        shown_pictures: of those, in the overview of the result.
        base: what the first task asks for.
        step: what every task of the new classes asks for.
    """

    seed: int = 0
    threads: int | None = None
    size: int = 64
    base_pictures: int = 720
    base_held_out: float = 1 / 9
    step_pictures: int = 300
    showcase_pictures: int = 24
    showcase_size: int = 256
    shown_pictures: int = 5
    base: Mapping[str, Any] = field(default_factory=_base)
    step: Mapping[str, Any] = field(default_factory=_step)

    def base_spec(self) -> dict[str, Any]:
        """Return the first task's spec, without model and name."""
        return {"size": self.size, "seed": self.seed, **self.base}

    def step_spec(self, way: Way) -> dict[str, Any]:
        """Return the spec of one way of adding the new classes, without model and name."""
        gate = {} if way.live else {"gate": {"promote": False}}
        return {"seed": self.seed, **self.step, **gate, **way.spec}

    @property
    def picture_seeds(self) -> tuple[int, int, int]:
        """Seeds of the base task's pictures, the step's and the showcase's; none comes twice."""
        first = 3 * self.seed
        return first + 1, first + 2, first + 3
