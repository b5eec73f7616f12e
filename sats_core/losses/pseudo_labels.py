"""Pseudo-labels for what a step's pictures show of old classes (PLOP, CVPR 2021, section 3.3)."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND, IGNORE

RELEASED_BINS = 100
MEDIAN_BINS = 10_000
"""A surer model has all its entropies in the first of a hundred bins."""

Batches = Iterable[tuple[Tensor, Tensor]]
"""Pairs of labels (B, H, W) and old logits (B, C_old, H, W)."""

UNMATCHED = 0.005
"""The released threshold of a class whose entropies no single bin holds half of (SATS)."""


class PseudoLabels(NamedTuple):
    """Labels with the old model's opinion filled in.

    Attributes:
        labels: (B, H, W) integers: new classes as given; a background pixel takes the old
            model's class where it is sure, 255 where it is not.
        valid: (B, H, W) bool: where the old model is sure, labelled or not.
        kept_share: (B,) share of each picture's background pixels that took a label; 0 without any.
    """

    labels: Tensor
    valid: Tensor
    kept_share: Tensor


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
    believed = (background & valid).sum(dim=(1, 2)).to(old_logits.dtype)
    return PseudoLabels(filled, valid, believed / background.sum(dim=(1, 2)).clamp(min=1))


def with_truth(seen: Tensor, labels: Tensor, old_classes: int) -> Tensor:
    """Put back what replayed pictures are labelled with of old classes: truth, not opinion.

    Args:
        seen: (B, H, W) pseudo-labels.
        labels: (B, H, W) as they came.
        old_classes: channels of the old model.
    """
    return torch.where((labels > BACKGROUND) & (labels < old_classes), labels, seen)


def released_thresholds(batches: Batches, old_classes: int, classes: int, floor: float) -> Tensor:
    """Return the thresholds of the code that gave PLOP's and SATS's published figures, (C_old,).

    A histogram of 100 bins on [0, 1]; the first bin that holds at least half of the class's pixels
    by itself gives (bin + half / count) / 100: with most of a class in the first bin something
    between 0.005 and 0.01, however low its entropies are. Where no bin holds half of them 0.005,
    where the class is predicted nowhere the floor.

    In the code the bins before one add their numbers to a running sum that their counts belong to:
    so each bin is matched by itself. What the numbers add up to, at most 4,950 pixels, is left
    out here.

    Args:
        batches: the step's pictures.
        old_classes: channels of the old model.
        classes: number of all classes C.
        floor: least threshold.
    """
    histogram = _entropy_histogram(batches, old_classes, classes, 1.0, RELEASED_BINS)
    total = histogram.sum(dim=1)
    holds_half = (histogram >= total[:, None] / 2) & (total > 0)[:, None]
    first = holds_half.int().argmax(dim=1)
    count = histogram.gather(1, first[:, None])[:, 0].clamp(min=1)
    placed = (first + total / 2 / count) / RELEASED_BINS
    matched = torch.where(holds_half.any(dim=1), placed, UNMATCHED)
    return torch.where(total > 0, matched, 0).clamp(min=floor).float()


def median_thresholds(batches: Batches, old_classes: int, classes: int, floor: float) -> Tensor:
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
    """
    highest = 1 / (old_classes * math.log(classes))
    histogram = _entropy_histogram(batches, old_classes, classes, highest, MEDIAN_BINS)
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
