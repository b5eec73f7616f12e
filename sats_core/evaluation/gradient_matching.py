"""Looking for what a gradient came from: change a guess until its gradient is the one seen.

Inverting Gradients (Geiping et al., NeurIPS 2020): the distance is one less the cosine, total
variation is held down, Adam follows the signs alone. It grew out of DLG (Zhu et al., NeurIPS 2019).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Gradients = Sequence[Tensor]
GradientsOf = Callable[..., Gradients]
"""Takes the unknowns, and returns gradients that can be differentiated by them."""
DECAY = 0.1
"""Factor of the rate at 3, 5 and 7 eighths of the way (Geiping et al.)."""


class Effort(NamedTuple):
    """How hard an attack tries.

    Attributes:
        iterations: steps.
        rate: of Adam on the signs: about how far a value goes in a step, of its range 0..1.
        smoothness: weight of the total variation of the first unknown.
    """

    iterations: int = 300
    rate: float = 0.1
    smoothness: float = 0.2


class Found(NamedTuple):
    """What a search came to.

    Attributes:
        unknowns: at the end, each within 0..1.
        distances: one less the cosine before each step.
    """

    unknowns: list[Tensor]
    distances: list[float]


def cosine_distance(ours: Gradients, theirs: Gradients) -> Tensor:
    """Return one less the cosine of two gradients, each taken as one long vector: 0..2."""
    product = torch.stack([(a * b).sum() for a, b in zip(ours, theirs, strict=True)]).sum()
    squares = [torch.stack([g.square().sum() for g in side]).sum() for side in (ours, theirs)]
    return 1 - product / (squares[0] * squares[1]).sqrt()


def total_variation(pixels: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours (..., H, W), along rows and columns."""
    return pixels.diff(dim=-2).abs().mean() + pixels.diff(dim=-1).abs().mean()


def search(
    gradients_of: GradientsOf, seen: Gradients, starts: Sequence[Tensor], effort: Effort
) -> Found:
    """Look for unknowns whose gradients point where the ones seen do.

    Args:
        gradients_of: the step that was run, as far as the attacker knows it.
        seen: gradients of the step.
        starts: of each unknown, values 0..1; the first one is pixels (..., H, W).
        effort: how hard to try.
    """
    free = [start.clone().requires_grad_() for start in starts]
    optimizer = torch.optim.Adam(free, lr=effort.rate)
    turns = [effort.iterations * eighths // 8 for eighths in (3, 5, 7)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, turns, DECAY)
    distances = []
    for _ in range(effort.iterations):
        distance = cosine_distance(gradients_of(*free), seen)
        wanted = distance + effort.smoothness * total_variation(free[0])
        for unknown, way in zip(free, torch.autograd.grad(wanted, free), strict=True):
            unknown.grad = way.sign()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for unknown in free:
                unknown.clamp_(0, 1)
        distances.append(float(distance.detach()))
    return Found([unknown.detach() for unknown in free], distances)
