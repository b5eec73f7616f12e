"""IoU on the showcase, counted here, and what the demo claims about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo import plan
from demo.service import DemoError

Labels = NDArray[np.uint8]


def iou_by_class(
    truths: Sequence[Labels], predictions: Sequence[Labels], names: Mapping[int, str]
) -> dict[str, float | None]:
    """Return the IoU of every class over all pictures; None for one that is in none of them.

    Args:
        truths: labels (h, w) per picture.
        predictions: labels (h, w) per picture, in the same order.
        names: class name by label.
    """
    truth = np.concatenate([t.ravel() for t in truths])
    prediction = np.concatenate([p.ravel() for p in predictions])
    scores: dict[str, float | None] = {}
    for index, name in names.items():
        both = np.count_nonzero((truth == index) & (prediction == index))
        either = np.count_nonzero((truth == index) | (prediction == index))
        scores[name] = both / either if either else None
    return scores


@dataclass(frozen=True)
class Comparison:
    """IoU by class before the step and after each way of taking it, on the same pictures.

    Attributes:
        pictures: which ones, in words.
        before: IoU by class of the first version.
        after: the same of the later versions, by the key of `plan.Way`.
    """

    pictures: str
    before: Mapping[str, float | None]
    after: Mapping[str, Mapping[str, float | None]]

    def lost(self, key: str) -> float:
        """Return the mIoU that the old classes lost in one way; background is none of them.

        Raises:
            DemoError: no old class has a score.
        """
        then = mean_iou(self.before, plan.OLD_CLASSES)
        now = mean_iou(self.after[key], plan.OLD_CLASSES)
        if then is None or now is None:
            raise DemoError(f"{self.pictures}: no old class has a score")
        return then - now

    def found(self, key: str) -> float:
        """Return the least IoU of a new class in one way; 0 for one without a score."""
        return min(self.after[key].get(name) or 0.0 for name in plan.NEW_CLASSES)

    def broken_claims(self) -> list[str]:
        """Return what the demo claims and this comparison denies, a sentence each."""
        broken = []
        if (found := self.found("sats")) < plan.NEW_CLASS_FOUND:
            broken.append(
                f"IoU of {', '.join(plan.NEW_CLASSES)} is {found:.2f}, "
                f"less than {plan.NEW_CLASS_FOUND}"
            )
        kept, dropped = self.lost("sats"), self.lost("finetuned")
        if kept > plan.OLD_CLASSES_LOSE:
            broken.append(f"SATS lost {kept:.3f} old mIoU, more than {plan.OLD_CLASSES_LOSE}")
        if dropped < kept + plan.FINETUNING_LOSES_MORE:
            broken.append(
                f"fine-tuning lost {dropped:.3f} old mIoU and SATS {kept:.3f}: "
                f"less than {plan.FINETUNING_LOSES_MORE} apart"
            )
        return [f"{self.pictures}: {sentence}" for sentence in broken]


def mean_iou(scores: Mapping[str, float | None], names: Sequence[str]) -> float | None:
    """Return the mean IoU of those `names` that have one; None if none has."""
    known = [iou for name in names if (iou := scores.get(name)) is not None]
    return sum(known) / len(known) if known else None
