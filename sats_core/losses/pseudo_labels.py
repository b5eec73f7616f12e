"""Pseudo-labels for what a step's pictures show of old classes (PLOP, CVPR 2021, section 3.3)."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND, IGNORE

HISTOGRAM_BINS = 100


class PseudoLabels(NamedTuple):
    """Labels with the old model's opinion filled in.

    Attributes:
        labels: (B, H, W) integers: new classes as given; a background pixel takes the old
            model's class where it is sure, 255 where it is not.
        valid: (B, H, W) bool: where the old model is sure, labelled or not.
        kept: (B,) share of each picture's background pixels that took a label; 0 without any.
    """

    labels: Tensor
    valid: Tensor
    kept: Tensor


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
    sure = normalised_entropy(old_logits, classes)
    predicted = old_logits.max(dim=1).indices  # ten times as fast as argmax on a CPU
    valid = sure < thresholds.to(sure.device)[predicted]
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


def median_thresholds(
    batches: Iterable[tuple[Tensor, Tensor]], old_classes: int, classes: int, floor: float
) -> Tensor:
    """Return t_c = max(floor, median of u over the background pixels predicted c), (C_old,).

    The median is read from a histogram of 100 bins, so that no pixel is kept; the bins span what
    u can reach, 0 to 1 / (C_old log C), and the median is placed inside its bin by proportion.
    A class that is predicted nowhere gets the floor.

    Args:
        batches: pairs of labels (B, H, W) and old logits (B, C_old, H, W).
        old_classes: channels of the old model.
        classes: number of all classes C.
        floor: least threshold.
    """
    highest = 1 / (old_classes * math.log(classes))
    histogram = torch.zeros(old_classes, HISTOGRAM_BINS, dtype=torch.float64)
    for labels, old_logits in batches:
        background = labels < old_classes
        predicted = old_logits.max(dim=1).indices[background]
        entropy = normalised_entropy(old_logits.float(), classes)[background]
        bins = (entropy / highest * HISTOGRAM_BINS).long().clamp(0, HISTOGRAM_BINS - 1)
        counts = torch.bincount(
            predicted * HISTOGRAM_BINS + bins, minlength=old_classes * HISTOGRAM_BINS
        )
        histogram += counts.view_as(histogram).cpu()
    return _medians(histogram, highest).clamp(min=floor).float()


def _medians(histogram: Tensor, highest: float) -> Tensor:
    cumulative = histogram.cumsum(dim=1)
    half = cumulative[:, -1:] / 2
    bins = (cumulative < half).sum(dim=1, keepdim=True).clamp(max=histogram.shape[1] - 1)
    inside = histogram.gather(1, bins)
    before = cumulative.gather(1, bins) - inside
    share = torch.where(inside > 0, (half - before) / inside.clamp(min=1), 0)
    medians = (bins + share)[:, 0] / histogram.shape[1] * highest
    return torch.where(cumulative[:, -1] > 0, medians, 0)
