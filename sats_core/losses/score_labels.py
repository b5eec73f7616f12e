"""Pseudo-labels by score for what a step's pictures show of old classes (MBS)."""

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND, IGNORE


def score_pseudo_labels(labels: Tensor, old_logits: Tensor, belief: float) -> Tensor:
    """Fill a step's background with old classes that the old model is sure of.

    A background pixel takes the old model's best foreground class where its score is at least
    `belief`. Where the old model sees more foreground than background without being sure of any
    class, the pixel is ignored: calling it background would teach the shift that a step's labels
    bring. Everything else stays background (MBS, Park et al., ECCV 2024, section 3.2).

    Args:
        labels: (B, H, W) integers: new classes, labelled old ones, 0 elsewhere, 255 ignored.
        old_logits: (B, C_old, H, W).
        belief: least score, 0..1.

    Returns:
        (B, H, W) labels.
    """
    scores = old_logits.softmax(dim=1)
    best, foreground = scores[:, 1:].max(dim=1)
    unsure = scores[:, BACKGROUND] < scores[:, 1:].sum(dim=1)
    seen = torch.where(unsure, IGNORE, BACKGROUND)
    seen = torch.where(best >= belief, foreground + 1, seen)
    return torch.where(labels == BACKGROUND, seen, labels)
