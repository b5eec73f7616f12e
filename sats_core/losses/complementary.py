"""Complementary attention: what spatial attention leaves out is background."""

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND, IGNORE


def complementary_attention(logits: Tensor, labels: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """Return how badly standard and complementary attention tell objects from all else.

    Attention is a softmax over the standard map and its complementary foci. A pixel of a class
    counts - log of the standard one's share, a pixel of background, what covers an object
    included, - log of what the foci have together, whichever of them; the mean over all pixels,
    ignored ones counting 0. After complementary attention learning (Cho et al., arXiv 2305.01905,
    see `sats_core.models.focal`).

    Args:
        logits: (B, 1 + foci, H, W), the standard attention's first.
        labels: (B, H, W) integer classes, 0 where there is none.
        ignore_index: label that says nothing.

    Returns:
        A scalar.
    """
    whole = logits.logsumexp(dim=1)
    standard = whole - logits[:, 0]
    foci = whole - logits[:, 1:].logsumexp(dim=1)
    found = torch.where(labels == BACKGROUND, foci, standard)
    return torch.where(labels == ignore_index, 0, found).mean()
