"""What the version before says about the pixels of new classes.

A class that was learned before and comes under another name is called by its old one; and the
features of its regions cannot be told from those of that class in pictures kept from earlier tasks.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from sats_core.classes import BACKGROUND
from sats_core.data.pictures import Pixels
from sats_core.evaluation.predict import labelled_input
from sats_core.models import Segmenter

Features = NDArray[np.float64]

LEAST_REGIONS = 8
"""Pictures of either class that it takes to say whether features tell them apart."""
_FOLDS = 4
_RIDGE = 1.0


@dataclass(frozen=True)
class Region:
    """What the old model sees where one picture is labelled as a class.

    Attributes:
        feature: mean of the decoder's output, (D,).
        called: share of the region that goes to each old channel, (C_old,).
    """

    feature: Features
    called: Features


@torch.no_grad()
def regions(old: Segmenter, size: int, picture: Pixels, label: Pixels) -> dict[int, Region]:
    """Return what the old model sees of every value of a label but background and ignored.

    Args:
        old: in evaluation mode.
        size: longer side of what it sees, pixels.
        picture: (H, W, 3) uint8.
        label: (H, W) uint8.
    """
    pixels, labels = labelled_input(picture, label, size, old)
    seen = old.observe(pixels)
    grid = F.interpolate(labels[:, None].double(), seen.logits.shape[-2:], mode="nearest-exact")
    marks = grid[0, 0].to("cpu", torch.uint8).numpy()
    features = seen.features[0].double().cpu().numpy()
    called = seen.logits[0].argmax(dim=0).cpu().numpy()
    values = np.flatnonzero(np.bincount(marks.ravel(), minlength=256)[:-1])
    found = {}
    for value in values[values != BACKGROUND].tolist():
        inside = marks == value
        counts = np.bincount(called[inside], minlength=old.classifier.channels)
        found[value] = Region(features[:, inside].mean(axis=1), counts / inside.sum())
    return found


def most_called(found: Sequence[Region]) -> tuple[int, float] | None:
    """Return the old class that regions are called most, a channel, and its mean share.

    None where there is no region, or no old class but the background.
    """
    if not found:
        return None
    shares = np.mean([one.called for one in found], axis=0)[1:]
    if not len(shares) or not shares.max():
        return None
    return int(shares.argmax()) + 1, float(shares.max())


def told_apart(left: Sequence[Region], right: Sequence[Region]) -> float | None:
    """Return how well a linear probe tells regions of two classes apart, on pictures it has not
    seen.

    Returns:
        The area under the ROC curve, mean over four folds; 0.5: not at all. None: either class
        has fewer than eight regions.
    """
    if min(len(left), len(right)) < LEAST_REGIONS:
        return None
    features = np.stack([one.feature for one in (*left, *right)])
    is_left = np.arange(len(features)) < len(left)
    fold = np.concatenate([np.arange(len(left)), np.arange(len(right))]) % _FOLDS
    areas = []
    for number in range(_FOLDS):
        unseen = fold == number
        score = _probe(features[~unseen], is_left[~unseen])
        areas.append(_area(score(features[unseen]), is_left[unseen]))
    return float(np.mean(areas))


def _probe(features: Features, positive: NDArray[np.bool_]) -> Callable[[Features], Features]:
    """Fit a ridge regression to +1 and -1."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled, target = (features - mean) / deviation, np.where(positive, 1.0, -1.0)
    ridge = _RIDGE * len(scaled) * np.eye(scaled.shape[1])
    row = np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ (target - target.mean()))
    return lambda unseen: np.asarray((unseen - mean) / deviation @ row)


def _area(scores: Features, positive: NDArray[np.bool_]) -> float:
    higher = scores[positive][:, None] - scores[~positive][None]
    return float(((higher > 0) + 0.5 * (higher == 0)).mean())


def round_robin(shown: Sequence[Iterable[str]], classes: Sequence[str], most: int) -> list[int]:
    """Return places of at most `most` pictures, as many of each class as it goes, in order."""
    queues = [[i for i, names in enumerate(shown) if name in names] for name in classes]
    chosen: set[int] = set()
    while len(chosen) < most and any(queues):
        for queue in queues:
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < most:
                chosen.add(queue.pop(0))
    return sorted(chosen)
