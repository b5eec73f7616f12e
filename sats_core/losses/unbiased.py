"""Cross-entropy and distillation that know what "background" means (MiB, CVPR 2020)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import BACKGROUND, IGNORE


def unbiased_cross_entropy(logits: Tensor, labels: Tensor, old_classes: int) -> Tensor:
    """Return the cross-entropy in which background may be any old class (MiB, equation 5).

    p(background) is the sum over background and the old classes, because a step's labels call
    old classes background.

    Args:
        logits: (B, C, H, W) of the new model.
        labels: (B, H, W) integers: the step's new classes, 0 elsewhere, 255 ignored.
        old_classes: channels of the old model, background included.

    Returns:
        (B, H, W), 0 where ignored.
    """
    log_sum = torch.logsumexp(logits, dim=1, keepdim=True)
    background = torch.logsumexp(logits[:, :old_classes], dim=1, keepdim=True) - log_sum
    log_probabilities = torch.cat([background, logits[:, 1:] - log_sum], dim=1)
    # An old class in the labels would be counted twice; a step's labels hold none.
    known = (labels >= old_classes) | (labels == IGNORE)
    return F.nll_loss(
        log_probabilities,
        torch.where(known, labels, BACKGROUND),
        ignore_index=IGNORE,
        reduction="none",
    )


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
    unbiased = unbiased_cross_entropy(logits, labels, old_classes)
    plain = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    return torch.where((labels > BACKGROUND) & (labels < old_classes), plain, unbiased)


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
    log_sum = torch.logsumexp(logits, dim=1, keepdim=True)
    background = torch.cat([logits[:, :1], logits[:, old_classes:]], dim=1)
    log_background = torch.logsumexp(background, dim=1, keepdim=True) - log_sum
    log_probabilities = torch.cat([log_background, logits[:, 1:old_classes] - log_sum], dim=1)
    target = old_logits.detach().softmax(dim=1)
    return -(target * log_probabilities).sum(dim=1) / old_classes
