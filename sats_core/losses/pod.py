"""Local POD: pooled features of old and new model at several scales (PLOP, CVPR 2021, 3.2)."""

import torch
from torch import Tensor

SCALES = (1, 2, 4)
"""Windows a side, as published."""


def pod_distance(old: Tensor, new: Tensor) -> Tensor:
    """Return the distance of two feature maps, pooled along rows and columns of windows.

    Args:
        old: (B, D, H, W) of the old model; gets no gradient.
        new: of the same shape.

    Returns:
        A scalar: the L2 distance of the embeddings of the squared maps, mean over the batch.
    """
    embedded = local_pod(old.detach().square()) - local_pod(new.square())
    distance: Tensor = torch.linalg.vector_norm(embedded, dim=1).mean()
    return distance


def local_pod(features: Tensor) -> Tensor:
    """Return the means over rows and over columns of every window (PLOP).

    Args:
        features: (B, D, H, W).

    Returns:
        (B, E): for each scale s and each of its s x s windows the means over the window's columns,
        then over its rows, channels first. A side that s does not divide loses its remainder; a
        map of less than s pixels a side has no windows of that scale.
    """
    parts = []
    for scale in SCALES:
        height, width = features.shape[2] // scale, features.shape[3] // scale
        if not height or not width:
            continue
        for top in range(0, scale * height, height):
            for left in range(0, scale * width, width):
                window = features[:, :, top : top + height, left : left + width]
                parts += [window.mean(dim=3).flatten(1), window.mean(dim=2).flatten(1)]
    return torch.cat(parts, dim=1)


def with_background_summed(logits: Tensor, old_classes: int) -> Tensor:
    """Return logits (B, C_old, H, W): the new classes' are added to the background's.

    So PLOP's released code compares the maps of a classifier that has grown.
    """
    background = logits[:, :1] + logits[:, old_classes:].sum(dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:old_classes]], dim=1)
