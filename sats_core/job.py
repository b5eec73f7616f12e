"""What a step is asked for and what it gives back: JSON files between worker and child process."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.evaluation.scores import Confusion, Scores
from sats_core.kept import HeldOutPictures as HeldOutPictures
from sats_core.kept import MemoryRecord as MemoryRecord
from sats_core.label_report import LabelReport
from sats_core.record import Record
from sats_core.retirement import Depth as Depth
from sats_core.retirement import Membership as Membership
from sats_core.retirement import Piggyback as Piggyback
from sats_core.retirement import Proof as Proof
from sats_core.retirement import RetireJob as RetireJob
from sats_core.retirement import RetireResult as RetireResult
from sats_core.settings import KEPT_FEATURES, LEAST_BATCH, StepSettings
from sats_core.settings import Limits as Limits
from sats_core.version_config import ALL_MLP, HeadName


class HeldOutChoice(Record):
    """Which posted pictures are held out of training."""

    split: str | None = Field(
        None, description="Name of the data set's split to hold out; default: its `val` if any."
    )
    share: float = Field(
        0.2,
        strict=True,
        gt=0,
        lt=1,
        description="Share of the pictures held out where there is no split.",
    )
    keep: bool = Field(
        True,
        description="Keep the held-out pictures, so that later versions are scored on these "
        "classes. Without them their forgetting cannot be measured and the gate cannot guard them.",
    )


CHECKPOINT = "checkpoint.safetensors"
"""The file in a job's `work` that a step which was lost goes on from."""


class StepJob(Record):
    """One step, complete: everything the child process needs to know."""

    kind: Literal["step"] = "step"
    dataset: Path
    old_version: Path | None
    """Directory of the version to start from; None for a base step."""
    new_classes: tuple[str, ...]
    indices: tuple[int, ...]
    """Mask value of each new class."""
    named: bool = True
    """Whether the task names its classes itself; otherwise they are those of the data set, and one
    that no training picture shows is left out."""
    settings: StepSettings
    """As posted."""
    head: HeadName = ALL_MLP
    """Of a base step's model; later steps keep theirs. Benchmarks alone ask for another one."""
    halvings: int = Field(0, ge=0)
    """How often what a device computes at once is halved, because memory ran out before. The batch
    stays, and so does the checkpoint."""
    devices: int = Field(1, ge=1)
    """Most devices that share the step's batches, each in a process of its own: accelerators where
    there are any, else processes on the processor. It is the machine's matter, not the task's: the
    batch, and so what is learned, stays the same."""
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

    def without(self, names: Collection[str]) -> "StepJob":
        """Return the step without some of its new classes."""
        kept = [
            (n, i) for n, i in zip(self.new_classes, self.indices, strict=True) if n not in names
        ]
        classes, indices = zip(*kept, strict=True)
        return self.model_copy(update={"new_classes": classes, "indices": indices})

    @property
    def at_once(self) -> int:
        """Most pictures that a device computes at once, as it is run."""
        return self.at_once_after(self.halvings)

    def at_once_after(self, halvings: int) -> int:
        """Return the most pictures that a device computes at once after so many halvings."""
        share = -(-self.settings.batch_size // self.devices)
        least = 1 if self.old_version else LEAST_BATCH
        return max(share >> halvings, min(share, least))


class ImportJob(Record):
    """A version made of a SegFormer checkpoint that was trained elsewhere."""

    kind: Literal["import"] = "import"
    source: Path
    """Zip of the checkpoint's directory (its files at the root or one folder down), or a
    directory."""
    source_name: str = Field(max_length=200)
    """What the record says it came from: a directory's name, a hub id, a zip's name."""
    background: str | None = None
    """Which class is the background, as `segformer.config.Checkpoint.class_order` reads it."""
    allow_pickle: bool = False
    """Whether `pytorch_model.bin` may be read, by a loader that takes nothing but tensors."""
    classes: tuple[str, ...]
    """Foreground names in channel order: `class_order(background).foreground`."""
    indices: tuple[int, ...]
    """Mask value of each."""
    evaluate: Path | None = None
    """Zip of labelled pictures, in any layout that is read: scored, and kept as held-out pictures
    for the steps after it. Where they have a `train` split beside others, its pictures give
    features instead."""
    features: int = Field(KEPT_FEATURES, ge=0)
    """Pixels whose features are kept with the version."""
    limits: Limits
    threads: int | None
    work: Path
    result: Path
    """Where `version/`, `held_out.zip` and `result.json` are written."""


Job = StepJob | ImportJob | RetireJob


def parse_job(data: str | bytes) -> Job:
    """Read the JSON of a job, by its `kind`.

    Raises:
        pydantic.ValidationError: it is none of them.
    """
    return _JOB.validate_json(data)


_JOB: TypeAdapter[Job] = TypeAdapter(Annotated[Job, Field(discriminator="kind")])


class StepResult(Record):
    """What a finished step gives back; `result.json` beside the version directory."""

    classes: tuple[dict[str, object], ...]
    """The catalogue in channel order: index, name, colour (three ints), step."""
    scores: Scores
    confusion: Confusion | None = None
    """What classes are taken for; None where no picture was scored."""
    forgetting_report: ForgettingReport | None = None
    """Why old classes lost IoU; None in a base step."""
    settings: dict[str, Any]
    """As run (`StepSettings.as_run`): every default filled in, null what the method reads not."""
    backbone_start: str
    """Where the backbone's first weights came from; "scratch" says there were none."""
    trained_pictures: int
    held_out_pictures: int
    labels: LabelReport | None = None
    """What the labels look like, and what is suspect about them."""
    memory: MemoryRecord | None = None
    """What `memory.zip` holds; None where nothing is kept."""
    replayed_pictures: int = 0
    """Pictures of the old version's memory that this step trained on."""
    seconds: float


class Origin(Record):
    """Where an imported version came from."""

    source: str
    """A directory's name, a hub id, a zip's name."""
    sha256: str
    """Of the weight files' bytes, one after the other in the order of their names."""
    architecture: str
    """As its config names it."""
    transformers: str | None
    """Version of the library that wrote it, where its config says so."""
    background: str | None
    """Label that became the background; None where there is none and row 0 never wins."""


class ImportResult(Record):
    """What a finished import gives back; `result.json` beside the version directory."""

    kind: Literal["import"] = "import"
    classes: tuple[dict[str, object], ...]
    """The catalogue in channel order: index, name, colour (three ints), step."""
    scores: Scores
    """Nothing but None where no labelled pictures came along."""
    confusion: Confusion | None = None
    """What classes are taken for; None where no labelled pictures came along."""
    origin: Origin
    backbone: str
    backbone_start: str
    """`imported: NAME`."""
    size: int
    """Side of the training crops of later steps, pixels."""
    held_out_pictures: int
    seconds: float


Result = StepResult | ImportResult | RetireResult


def parse_result(data: str | bytes) -> Result:
    """Read the JSON of a result.

    Raises:
        pydantic.ValidationError: it is none, or half of one.
    """
    return _RESULT.validate_json(data)


_RESULT: TypeAdapter[Result] = TypeAdapter(Result)
