"""The scores of a version, and what they say against the versions before it."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from sats_core.classes import Catalogue
from sats_core.record import Record

if TYPE_CHECKING:  # whoever only holds scores need not import numpy
    from sats_core.evaluation.confusion import ConfusionMatrix

Counts = tuple[tuple[int, ...], ...]


class Scores(Record):
    """Scores on held-out pictures, all 0..1; None where no held-out picture shows the class.

    Attributes:
        iou: intersection over union of every class by name, background included.
        introduced: the IoU that each foreground class had in the version that brought it.
        forgetting: introduced less iou, for every class known before the step that has both.
        miou_old: mean over background and the classes known before the step; None in a base step.
        miou_new: mean over the classes that the step brought; None where it brought none.
        miou_all: mean over background and all classes.
        mean_forgetting: mean of `forgetting`; None where it is empty.
        pixel_accuracy: share of the scored pixels that are right.
        pictures: held-out pictures scored, of this task and of earlier ones.
        earlier_background: the background's IoU on the pictures of earlier tasks alone, which are
            those that the version before was scored on; None where there are none.
    """

    iou: dict[str, float | None]
    introduced: dict[str, float | None]
    forgetting: dict[str, float]
    miou_old: float | None
    miou_new: float | None
    miou_all: float | None
    mean_forgetting: float | None
    pixel_accuracy: float | None
    pictures: int
    earlier_background: float | None = None


class Confusion(Record):
    """What a version takes the pixels of held-out pictures for, and what the one before did.

    Attributes:
        classes: background first; rows and columns are in their order.
        pixels: pixels by true class (rows) and predicted class (columns), (C, C).
        before: the same of the version before, on the same pictures; it predicts no new class. None
            where there was none.
        pictures: how many were counted.
    """

    classes: tuple[str, ...]
    pixels: Counts
    before: Counts | None
    pictures: int


def scores_of(
    matrix: "ConfusionMatrix",
    catalogue: Catalogue,
    introduced: Mapping[str, float | None],
    pictures: int,
    earlier: "ConfusionMatrix | None" = None,
    new: Collection[str] | None = None,
) -> Scores:
    """Read a version's scores from its confusion matrix.

    Args:
        matrix: over the catalogue's channels.
        catalogue: the version's classes; those of its last step count as new.
        introduced: `Scores.introduced` of the parent; empty for a base step.
        pictures: how many were counted.
        earlier: the part of the matrix that pictures of earlier tasks gave.
        new: classes that the version brings; by default those of the catalogue's last step.
    """
    iou = dict(zip(catalogue.names, matrix.iou(), strict=True))
    new = catalogue.newest if new is None else new
    old = [name for name in catalogue.foreground if name not in new]
    born = {**introduced, **{name: iou[name] for name in new}}
    forgetting = {
        name: was - now
        for name in old
        if (was := born.get(name)) is not None and (now := iou[name]) is not None
    }
    return Scores(
        iou=iou,
        introduced=born,
        forgetting=forgetting,
        miou_old=_mean(iou[name] for name in (catalogue.names[0], *old)) if old else None,
        miou_new=_mean(iou[name] for name in new),
        miou_all=_mean(iou.values()),
        mean_forgetting=_mean(forgetting.values()),
        pixel_accuracy=matrix.accuracy(),
        pictures=pictures,
        earlier_background=earlier.iou()[0] if earlier is not None else None,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
