"""Weight fusion after a step (EWF, Xiao et al., CVPR 2023)."""

import math

import torch

from sats_core.models import Segmenter


def fusion_share(new_classes: int, old_classes: int) -> float:
    """Return the share of the new weights, a = sqrt(N / (N + C_old))."""
    return math.sqrt(new_classes / (new_classes + old_classes))


@torch.no_grad()
def fuse(model: Segmenter, old: Segmenter) -> float:
    """Average the two models: every tensor that both have becomes (1 - a) old + a new.

    The classifier's new rows, which the old model does not have, stay as they were trained.

    Args:
        model: after the step; changed in place.
        old: before the step, of the same backbone, not grown.

    Returns:
        a.
    """
    before = old.classifier.channels
    share = fusion_share(model.classifier.channels - before, before)
    trained = model.state_dict()
    for name, was in old.state_dict().items():
        if was.is_floating_point():
            now = trained[name]
            now.copy_(torch.lerp(was.to(now.device), now, share))
    return share
