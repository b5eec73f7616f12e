"""What a step is asked for and what it gives back: JSON files between worker and child process."""

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from sats_core.evaluation.confusion import Confusion
from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.evaluation.scores import Scores
from sats_core.label_report import LabelReport
from sats_core.record import Record
from sats_core.settings import KEPT_FEATURES, LEAST_BATCH, StepSettings
from sats_core.settings import Limits as Limits


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


class Depth(StrEnum):
    """How thoroughly a class is taken away. Its data is the service's business."""

    HIDE = "hide"  # its rows go, and its probability falls to background
    UNLEARN = "unlearn"  # what stands for it in the features goes too


CHECKPOINT = "checkpoint.safetensors"
"""The file in a job's `work` that a step which was lost goes on from."""


class HeldOutPictures(Record):
    """Held-out pictures of an earlier task: a zip in VOC layout and the classes it labels."""

    path: Path
    classes: tuple[str, ...]
    compared: bool = True
    """Whether copies of them among the training pictures are counted. The count tells whoever reads
    it that a picture is held out."""


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


class RetireJob(Record):
    """A version without some of another's classes."""

    kind: Literal["retire"] = "retire"
    old_version: Path
    """Directory of the version that the classes are taken from."""
    classes: tuple[str, ...]
    """Names of those that go, in channel order; one stays at least, besides the background."""
    depth: Depth
    settings: StepSettings
    """Of the training that `Depth.UNLEARN` needs; `hide` reads the seed alone."""
    dataset: Path | None = None
    """Zip of labelled pictures, in any layout that is read, of what goes, what stays, or both."""
    earlier: tuple[HeldOutPictures, ...]
    """Held-out pictures that are there: the version before and after are scored on them."""
    memory: Path | None = None
    """Training pictures that the old version keeps, as a step wrote `memory.zip`."""
    unaware: Path | None = None
    """Directory of a version that never saw the classes that go, an ancestor as a rule: a mark for
    what `unlearn` reaches. None: there is none, and the record says so."""
    limits: Limits
    threads: int | None
    work: Path
    """Checkpoints; the same folder when a lost task is taken up again."""
    result: Path
    """Where `version/`, `memory.zip` and `result.json` are written."""


Job = StepJob | ImportJob | RetireJob


def parse_job(data: str | bytes) -> Job:
    """Read the JSON of a job, by its `kind`.

    Raises:
        pydantic.ValidationError: it is none of them.
    """
    return _JOB.validate_json(data)


_JOB: TypeAdapter[Job] = TypeAdapter(Annotated[Job, Field(discriminator="kind")])


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


class Piggyback(Record):
    """How well fresh rows find the retired classes again on frozen features (mean IoU of them).

    Each is taught on the same few pictures and scored on the same others.
    """

    before: float
    """On the features of the version before."""
    after: float
    unaware: float | None
    """On those of a model that never saw the classes; None where there is none."""
    gap_closed: float | None
    """(before - after) / (before - unaware); None without `unaware`, or where there is no gap."""
    pictures: int
    """That the rows were taught on."""
    scored_pictures: int


class Membership(Record):
    """How well a threshold on the loss tells pictures that a version was trained on from others.

    Area under the curve: 0.5 is a guess.
    """

    before: float
    after: float
    members: int
    """Pictures that were trained on."""
    others: int


class Proof(Record):
    """What was measured of a retired class; no guarantee."""

    pictures: Literal["posted", "kept", "noise", "none"]
    """What `unlearn` saw of the classes: posted pictures, those that the version kept, made-up
    ones; `hide` sees none."""
    miou_before: float | None
    """Of what stays, background included, on held-out pictures; None where there are none."""
    miou_after: float | None
    to_background: float | None
    """Share of the pixels that the version before took for a retired class, on the pictures at
    hand, that are background now; None where there are none."""
    piggyback: Piggyback | None
    """None where fewer than two pictures show the classes."""
    membership: Membership | None
    """None where no picture that was trained on is at hand, or no other."""


class RetireResult(Record):
    """What a finished retirement gives back; `result.json` beside the version directory."""

    kind: Literal["retire"] = "retire"
    classes: tuple[dict[str, object], ...]
    """The catalogue of what stays, in channel order: index, name, colour (three ints), step."""
    retired: tuple[str, ...]
    depth: Depth
    scores: Scores
    confusion: Confusion | None = None
    settings: dict[str, Any]
    """As run (`StepSettings.as_run`)."""
    proof: Proof
    memory: MemoryRecord | None = None
    """What `memory.zip` holds: pictures that show a retired class are not among them."""
    seconds: float


Result = StepResult | ImportResult | RetireResult


def parse_result(data: str | bytes) -> Result:
    """Read the JSON of a result.

    Raises:
        pydantic.ValidationError: it is none, or half of one.
    """
    return _RESULT.validate_json(data)


_RESULT: TypeAdapter[Result] = TypeAdapter(Result)
