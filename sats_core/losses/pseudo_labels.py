"""Pseudo-labels for what a step's pictures show of old classes (PLOP, CVPR 2021, section 3.3)."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND, IGNORE

RELEASED_BINS = 100
MEDIAN_BINS = 10_000
"""A surer model has all its entropies in the first of a hundred bins."""

Batches = Iterable[tuple[Tensor, Tensor]]
"""Pairs of labels (B, H, W) and old logits (B, C_old, H, W)."""

Total = Callable[[Tensor], Tensor]
"""Adds a tensor up over all who look at a share of the pictures each."""

UNMATCHED = 0.005
"""The released threshold of a class for which no bin is matched (SATS)."""


class PseudoLabels(NamedTuple):
    """Labels with the old model's opinion filled in.

    Attributes:
        labels: (B, H, W) integers: new classes as given; a background pixel takes the old
            model's class where it is sure, 255 where it is not.
        valid: (B, H, W) bool: where the old model is sure, labelled or not.
        kept_share: (B,) share of each picture's background pixels that took a label; 1 without any.
    """

    labels: Tensor
    valid: Tensor
    kept_share: Tensor


def alone(tensor: Tensor) -> Tensor:
    """Return the total of one who looks at all pictures: the tensor as it is."""
    return tensor


def normalised_entropy(old_logits: Tensor, classes: int) -> Tensor:
    """Return u = -(1 / log C_old) * mean over channels of p' log p' / log C, (B, H, W).

    As in the authors' code, 1e-8 inside the logarithms keeps them finite.

    Args:
        old_logits: (B, C_old, H, W).
        classes: number of all classes C, background and new ones included.
    """
    p = old_logits.softmax(dim=1)
    entropy = -(p + 1e-8).log_().mul_(p).mean(dim=1)
    return entropy / math.log(old_logits.shape[1] + 1e-8) / math.log(classes)


def entropy_pseudo_labels(
    labels: Tensor, old_logits: Tensor, thresholds: Tensor, classes: int
) -> PseudoLabels:
    """Fill a step's background with the old model's classes where its entropy is low.

    Args:
        labels: (B, H, W) integers: the step's new classes, 0 elsewhere, 255 ignored. An old
            class that is labelled all the same counts as background.
        old_logits: (B, C_old, H, W).
        thresholds: (C_old,) or longer: entropy below which each class is believed.
        classes: number of all classes C.
    """
    entropy = normalised_entropy(old_logits, classes)
    predicted = old_logits.max(dim=1).indices  # ten times as fast as argmax on a CPU
    valid = entropy < thresholds.to(entropy.device)[predicted]
    background = labels < old_logits.shape[1]
    filled = torch.where(background & valid, predicted, labels)
    filled = torch.where(background & ~valid, torch.full_like(labels, IGNORE), filled)
    asked = background.sum(dim=(1, 2))
    share = (background & valid).sum(dim=(1, 2)).to(old_logits.dtype) / asked.clamp(min=1)
    return PseudoLabels(filled, valid, torch.where(asked > 0, share, 1))


def without_truth(labels: Tensor, old_classes: int) -> Tensor:
    """Take out what replayed pictures are labelled with of old classes: nobody's opinion is asked.

    Args:
        labels: (B, H, W) as they came.
        old_classes: channels of the old model.

    Returns:
        (B, H, W) with 255 there.
    """
    return labels.masked_fill(_is_truth(labels, old_classes), IGNORE)


def with_truth(seen: Tensor, labels: Tensor, old_classes: int) -> Tensor:
    """Put back what replayed pictures are labelled with of old classes: truth, not opinion.

    Args:
        seen: (B, H, W) pseudo-labels.
        labels: (B, H, W) as they came.
        old_classes: channels of the old model.
    """
    return torch.where(_is_truth(labels, old_classes), labels, seen)


def _is_truth(labels: Tensor, old_classes: int) -> Tensor:
    return (labels > BACKGROUND) & (labels < old_classes)


def released_thresholds(
    batches: Batches, old_classes: int, classes: int, floor: float, total: Total = alone
) -> Tensor:
    """Return the thresholds of the code that gave PLOP's and SATS's published figures, (C_old,).

    A histogram of 100 bins on [0, 1], searched from the first bin on: one is taken where half of
    the class's pixels lies between a running sum and that sum + the bin's count. It gives (bin +
    (half - sum) / count) / 100. The sum should be of the counts before and is of the bins'
    *numbers*, and that is kept here, since the published figures come from it. So a bin is matched
    by itself: with most of a class in the first one the threshold is between 0.005 and 0.01,
    however low its entropies are. Of a class of few pixels later bins are not matched at all: the
    numbers before bin b add up to b (b - 1) / 2, which half of the pixels must reach.

    Where no bin is matched the search runs out with 4,950 and the last bin, which is empty as a
    rule: infinity, for which SATS takes 0.005, where half of the pixels is more, and the floor
    where it is less (below 9,900 pixels). Where half equals the sum and the bin is empty the
    threshold is not a number, and nothing is below it. A class that is predicted nowhere gets the
    floor.

    Args:
        batches: the step's pictures.
        old_classes: channels of the old model.
        classes: number of all classes C.
        floor: least threshold.
        total: adds counts up over all who look at a share of the step's pictures.
    """
    histogram = total(_entropy_histogram(batches, old_classes, classes, 1.0, RELEASED_BINS))
    found = torch.tensor([_released_threshold(counts) for counts in histogram.tolist()])
    found = found.clamp(min=floor)
    return found.masked_fill(found.isinf(), max(UNMATCHED, floor))


def _released_threshold(counts: Sequence[float]) -> float:
    """Return what the released search finds in one class's histogram; maybe infinite or nan."""
    half = sum(counts) / 2
    if not half:
        return 0.0
    passed = 0.0
    for number in range(len(counts)):
        border = number / len(counts)
        # 0.29 * 100 is a little less than 29: that bin is passed over, as in the released code.
        place = int(border * len(counts))
        if passed <= half <= passed + counts[place]:
            break
        passed += border * len(counts)
    beyond = half - passed
    if not counts[place]:
        return math.copysign(math.inf, beyond) if beyond else math.nan
    return border + beyond / counts[place] / len(counts)


def median_thresholds(
    batches: Batches, old_classes: int, classes: int, floor: float, total: Total = alone
) -> Tensor:
    """Return t_c = max(floor, median of u over the background pixels predicted c), (C_old,).

    The definition of PLOP's section 3.3. The median is read from a histogram of 10,000 bins, so
    that no pixel has to be remembered; the bins span what u can reach, 0 to 1 / (C_old log C),
    and the median is placed inside its bin by proportion. A class that is predicted nowhere gets
    the floor.

    Args:
        batches: the step's pictures.
        old_classes: channels of the old model.
        classes: number of all classes C.
        floor: least threshold.
        total: adds counts up over all who look at a share of the step's pictures.
    """
    highest = 1 / (old_classes * math.log(classes))
    histogram = total(_entropy_histogram(batches, old_classes, classes, highest, MEDIAN_BINS))
    return _medians(histogram, highest).clamp(min=floor).float()


def _entropy_histogram(
    batches: Batches, old_classes: int, classes: int, highest: float, bins: int
) -> Tensor:
    """Count the background pixels by the class predicted and u, (C_old, bins) over [0, highest]."""
    histogram = torch.zeros(old_classes, bins, dtype=torch.float64)
    for labels, old_logits in batches:
        background = labels < old_classes
        predicted = old_logits.max(dim=1).indices[background]
        entropy = normalised_entropy(old_logits.float(), classes)[background]
        places = (entropy / highest * bins).long().clamp(0, bins - 1)
        counts = torch.bincount(predicted * bins + places, minlength=old_classes * bins)
        histogram += counts.view_as(histogram).cpu()
    return histogram


def _medians(histogram: Tensor, highest: float) -> Tensor:
    cumulative = histogram.cumsum(dim=1)
    half = cumulative[:, -1:] / 2
    bins = (cumulative < half).sum(dim=1, keepdim=True).clamp(max=histogram.shape[1] - 1)
    inside = histogram.gather(1, bins)
    before = cumulative.gather(1, bins) - inside
    share = torch.where(inside > 0, (half - before) / inside.clamp(min=1), 0)
    medians = (bins + share)[:, 0] / histogram.shape[1] * highest
    return torch.where(cumulative[:, -1] > 0, medians, 0)
