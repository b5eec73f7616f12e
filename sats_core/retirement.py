"""What taking classes away is asked for and what it gives back; `sats_core.job` hands it on."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from sats_core.evaluation.scores import Confusion, Scores
from sats_core.kept import HeldOutPictures, MemoryRecord
from sats_core.record import Record
from sats_core.settings import Limits, StepSettings


class Depth(StrEnum):
    """How thoroughly a class is taken away. Its data is the service's business."""

    HIDE = "hide"  # its rows go, and its probability falls to background
    UNLEARN = "unlearn"  # what stands for it in the features goes too


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
