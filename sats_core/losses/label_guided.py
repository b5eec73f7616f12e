"""Distillation that knows where the new classes are (LGKD, Yang et al., ICCV 2023)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import BACKGROUND, IGNORE


def label_guided_distillation(logits: Tensor, old_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the distillation whose target puts the old background where the labels say.

    The old model's probabilities are padded with zeros for the new classes; where a pixel is
    labelled with a new class, the old background's share moves there, because background is what
    the old model had to call it (LGKD).

    Args:
        logits: (B, C, H, W) of the new model.
        old_logits: (B, C_old, H, W) of the old model; gets no gradient.
        labels: (B, H, W) integers: the step's new classes; every other value keeps the old target.

    Returns:
        (B, H, W), the cross-entropy divided by C_old, as the other distillations are.
    """
    old_classes = old_logits.shape[1]
    p = old_logits.detach().softmax(dim=1)
    new = (labels >= old_classes) & (labels != IGNORE)
    channel = torch.where(new, labels, BACKGROUND)
    padded = F.pad(p, (0, 0, 0, 0, 0, logits.shape[1] - old_classes))
    padded[:, BACKGROUND] = 0
    target = padded.scatter_add(1, channel[:, None], p[:, :1])
    return -(target * logits.log_softmax(dim=1)).sum(dim=1) / old_classes
