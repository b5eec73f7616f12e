"""Gradient collision: what one mini-batch would teach, another must not confirm.

After "Disposable Transfer Learning for Selective Source Task Unlearning" (Koh et al., ICCV 2023,
arXiv 2308.09971).
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

LEAST_NORM = 1e-12
"""Of a gradient; the cosine with one that vanishes is 0."""


def gradient_collision(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Return how far the gradients of several mini-batches point the same way, -1..1.

    The mean over pairs i < j of <g_i, g_j> / (|g_i| |g_j|), g_i the gradient of mini-batch i's loss
    by all parameters together. Minimised, no step that lowers one mini-batch's loss lowers the
    others': the task that they are of cannot be learned again by descending on some of it.

    The published loss takes the gradients of the source task's own loss, and so does this; it is
    the caller who makes it a class of a segmentation (`sats_core.methods.unlearn`).

    Args:
        losses: a scalar of each mini-batch, with a graph; two at least.
        parameters: that the gradients are by; one that a loss does not depend on counts 0.

    Returns:
        A scalar with a graph: second derivatives must be defined for all that the losses are made
        of, which torch's fused attention lacks.

    Raises:
        ValueError: fewer than two losses.
    """
    if len(losses) < 2:
        raise ValueError("gradients of one mini-batch collide with nothing")
    gradients = [_gradient(loss, parameters) for loss in losses]
    cosines = [left @ right for left, right in combinations(gradients, 2)]
    return torch.stack(cosines).mean()


def _gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the gradient of a loss by all parameters, one vector of length 1."""
    found = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    whole = torch.cat([part.flatten() for part in found])
    # The square root has no derivative at 0.
    norm = (whole.square().sum() + LEAST_NORM**2).sqrt()
    return whole / norm
