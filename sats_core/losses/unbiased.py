"""Cross-entropy and distillation that know what "background" means (MiB, CVPR 2020)."""

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND, IGNORE


def unbiased_cross_entropy(logits: Tensor, labels: Tensor, old_classes: int) -> Tensor:
    """Return the cross-entropy in which background may be any old class (MiB, equation 5).

    p(background) is the sum over background and the old classes, because a step's labels call
    old classes background. The published definition, for use outside this package; methods here
    may replay pictures that are labelled for old classes, see `truthful_cross_entropy`.

    Args:
        logits: (B, C, H, W) of the new model.
        labels: (B, H, W) integers: the step's new classes, 0 elsewhere, 255 ignored.
        old_classes: channels of the old model, background included.

    Returns:
        (B, H, W), 0 where ignored.
    """
    # An old class in the labels is background to this step as well.
    return _marginal_cross_entropy(logits, labels, labels < old_classes, old_classes)


def truthful_cross_entropy(logits: Tensor, labels: Tensor, old_classes: int) -> Tensor:
    """Return the unbiased cross-entropy, but the plain one where an old class is labelled.

    Only background may hide an old class; what a replayed picture is labelled with is truth.

    Args:
        logits: (B, C, H, W) of the new model.
        labels: (B, H, W) integers: new classes, replayed old ones, 0 elsewhere, 255 ignored.
        old_classes: channels of the old model, background included.

    Returns:
        (B, H, W), 0 where ignored.
    """
    return _marginal_cross_entropy(logits, labels, labels == BACKGROUND, old_classes)


def _marginal_cross_entropy(
    logits: Tensor, labels: Tensor, hidden: Tensor, old_classes: int
) -> Tensor:
    """Return -log p(label), where `hidden` (B, H, W) of all old channels together; 0 if ignored."""
    ignored = labels == IGNORE
    picked = logits.gather(1, labels.masked_fill(ignored, BACKGROUND)[:, None])[:, 0]
    old, new = logits.split((old_classes, logits.shape[1] - old_classes), dim=1)
    log_old = old.logsumexp(dim=1)
    answer = torch.where(hidden, log_old, picked)
    unlikely: Tensor = log_old.logaddexp(new.logsumexp(dim=1)) - answer
    return unlikely.masked_fill(ignored, 0)


def unbiased_distillation(logits: Tensor, old_logits: Tensor) -> Tensor:
    """Return the distillation in which background may be any new class (MiB, equation 8).

    The old model saw the new classes as background, so its p(background) is compared with the
    new model's sum over background and new classes.

    Args:
        logits: (B, C, H, W) of the new model.
        old_logits: (B, C_old, H, W) of the old model; gets no gradient.

    Returns:
        (B, H, W), the cross-entropy divided by C_old.
    """
    old_classes = old_logits.shape[1]
    target = old_logits.detach().softmax(dim=1)
    parts = (1, old_classes - 1, logits.shape[1] - old_classes)
    background, known, new = logits.split(parts, dim=1)
    log_background = torch.cat([background, new], dim=1).logsumexp(dim=1)
    # Targets sum to 1, so that the softmax's denominator comes out of the sum over channels.
    agreed = target[:, 0] * log_background + (target[:, 1:] * known).sum(dim=1)
    distance: Tensor = (log_background.logaddexp(known.logsumexp(dim=1)) - agreed) / old_classes
    return distance
