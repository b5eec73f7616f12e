"""What a step is asked for and what it gives back: JSON files between worker and child process."""

from pathlib import Path
from typing import Any

from pydantic import Field

from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.evaluation.scores import Scores
from sats_core.settings import Limits as Limits
from sats_core.settings import Record, StepSettings


class HeldOutChoice(Record):
    """Which posted pictures are held out of training."""

    split: str | None = Field(
        None, description="Name of the data set's split to hold out; default: its `val` if any."
    )
    share: float = Field(
        0.2, gt=0, lt=1, description="Share of the pictures held out where there is no split."
    )
    keep: bool = Field(
        True,
        description="Keep the held-out pictures, so that later versions are scored on these "
        "classes. Without them their forgetting cannot be measured and the gate cannot guard them.",
    )


class HeldOutPictures(Record):
    """Held-out pictures of an earlier task: a zip in VOC layout and the classes it labels."""

    path: Path
    classes: tuple[str, ...]


class StepJob(Record):
    """One step, complete: everything the child process needs to know."""

    dataset: Path
    old_version: Path | None
    """Directory of the version to start from; None for a base step."""
    new_classes: tuple[str, ...]
    indices: tuple[int, ...]
    """Mask value of each new class."""
    settings: StepSettings
    held_out: HeldOutChoice
    earlier: tuple[HeldOutPictures, ...]
    memory: Path | None = None
    """Training pictures that the old version keeps, as an earlier step wrote `memory.zip`."""
    limits: Limits
    backbone_dir: Path | None
    threads: int | None
    work: Path
    """Checkpoints; the same folder when a lost step is taken up again."""
    result: Path
    """Where the version directory `version/`, `held_out.zip`, `memory.zip` and `result.json` are
    written."""


class MemoryRecord(Record):
    """What a version keeps of its training pictures, for replay in later steps."""

    pictures: int
    """In all; those that the version before kept count too."""
    classes: dict[str, int]
    """Pictures that show each class and are labelled for it."""


class StepResult(Record):
    """What a finished step gives back; `result.json` beside the version directory."""

    classes: tuple[dict[str, object], ...]
    """The catalogue in channel order: index, name, colour (three ints), step."""
    scores: Scores
    forgetting_report: ForgettingReport | None = None
    """Why old classes lost IoU; None in a base step."""
    settings: dict[str, Any]
    """As run (`StepSettings.as_run`): every default filled in, null what the method reads not."""
    backbone_start: str
    """Where the backbone's first weights came from; "scratch" says there were none."""
    trained_pictures: int
    held_out_pictures: int
    memory: MemoryRecord | None = None
    """What `memory.zip` holds; None where nothing is kept."""
    replayed_pictures: int = 0
    """Pictures of the old version's memory that this step trained on."""
    seconds: float
