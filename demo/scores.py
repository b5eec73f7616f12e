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
    """IoU by class of the three versions, measured on the same pictures."""

    pictures: str
    before: Mapping[str, float | None]
    finetuned: Mapping[str, float | None]
    sats: Mapping[str, float | None]

    def lost(self, after: Mapping[str, float | None]) -> float:
        """Return the mIoU that the old classes lost; background is none of them.

        Raises:
            DemoError: no old class has a score.
        """
        then, now = mean_iou(self.before, plan.OLD_CLASSES), mean_iou(after, plan.OLD_CLASSES)
        if then is None or now is None:
            raise DemoError(f"{self.pictures}: no old class has a score")
        return then - now

    def broken_claims(self) -> list[str]:
        """Return what the demo claims and this comparison denies, a sentence each."""
        broken = []
        for name in plan.NEW_CLASSES:
            iou = self.sats.get(name) or 0.0
            if iou <= plan.NEW_CLASS_FOUND:
                broken.append(f"IoU of {name} is {iou:.2f}, not over {plan.NEW_CLASS_FOUND}")
        kept, dropped = self.lost(self.sats), self.lost(self.finetuned)
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
