"""The scores of a version, and what they say against the versions before it."""

from sats_core.settings import Record


class Scores(Record):
    """Scores on held-out pictures, all 0..1; None where no held-out picture shows the class.

    Attributes:
        iou: intersection over union of every class by name, background included.
        introduced: the IoU that each foreground class had in the version that brought it.
        forgetting: introduced less iou, for every class known before the step that has both.
        miou_old: mean over background and the classes known before the step; None in a base step.
        miou_new: mean over the classes that the step brought.
        miou_all: mean over background and all classes.
        mean_forgetting: mean of `forgetting`; None where it is empty.
        pixel_accuracy: share of the scored pixels that are right.
        pictures: held-out pictures scored, of this task and of earlier ones.
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
