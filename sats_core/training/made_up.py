"""Pictures of a class where nobody has any: noise, changed until the model finds it there."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.transforms import Pixels
from sats_core.evaluation.predict import predict
from sats_core.methods.finetune import at_size
from sats_core.models import Segmenter

PICTURES = 16
STEPS = 60
RATE = 0.1
SMOOTHNESS = 2.0
"""Weight of the mean absolute difference of neighbours, values 0..1 (total variation)."""
COARSENESS = (4, 8, 16)
"""Cells along a side of the noise that a picture starts from, summed over."""
RADIUS = (0.2, 0.35)
"""Of the disc in which the class is asked for, of the side."""


def made_up(
    model: Segmenter, size: int, gone: Sequence[int], seed: int, check: Callable[[], None]
) -> list[tuple[Pixels, Pixels]]:
    """Return pictures (S, S, 3) with labels (S, S): 1, 2, ... the classes, 0 all else.

    Each starts as coarse noise and follows the gradient of the cross-entropy that asks for a class
    inside a disc and for background around it, with total variation held down (model inversion as
    Mahendran & Vedaldi, CVPR 2015, have it). A pixel in the disc that the model takes for something
    else in the end is labelled 255. They look like nothing that anybody photographed.

    Args:
        model: with the classes' rows; in evaluation mode, its weights untouched.
        size: side of a picture, pixels.
        gone: channels of the classes.
        seed: of noise and places.
        check: called before every step; what it raises ends it.
    """
    device = next(model.parameters()).device
    chance = torch.Generator().manual_seed(seed)
    start = torch.stack([_noise(size, chance) for _ in range(PICTURES)])
    values = torch.arange(PICTURES) % len(gone) + 1
    discs = torch.stack([_disc(size, chance) for _ in range(PICTURES)])
    labels = (discs * values[:, None, None]).to(device)
    wanted = torch.tensor([BACKGROUND, *gone], device=device)[labels]
    pixels = _followed(model, start.to(device), wanted, check)
    pictures = (pixels * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    found = []
    for picture, label in zip(pictures, labels.to("cpu", torch.uint8).numpy(), strict=True):
        found.append((picture, _believed(model, size, picture, label, gone)))
    return found


def _followed(model: Segmenter, start: Tensor, wanted: Tensor, check: Callable[[], None]) -> Tensor:
    """Return pixels 0..1 (B, 3, S, S) in which the model finds what is wanted (B, S, S)."""
    free = start.clamp(0.02, 0.98).logit().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=RATE)
    needed = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in needed:
        weight.requires_grad_(False)
    try:
        for _ in range(STEPS):
            check()
            pixels = free.sigmoid()
            backbone = model.backbone
            logits = at_size(model((pixels - backbone.pixel_mean) / backbone.pixel_std), wanted)
            rough = pixels.diff(dim=2).abs().mean() + pixels.diff(dim=3).abs().mean()
            optimizer.zero_grad()
            (F.cross_entropy(logits, wanted) + SMOOTHNESS * rough).backward()
            optimizer.step()
    finally:
        for weight in needed:
            weight.requires_grad_(True)
    return free.detach().sigmoid()


def _believed(
    model: Segmenter, size: int, picture: Pixels, label: Pixels, gone: Sequence[int]
) -> Pixels:
    """Return the label with 255 where the model does not find what was asked for."""
    channels = np.array([BACKGROUND, *gone])[label]
    missed = predict(model, picture, size) != channels
    return np.where((label != BACKGROUND) & missed, IGNORE, label).astype(np.uint8)


def _noise(size: int, chance: torch.Generator) -> Tensor:
    """Return (3, S, S), 0..1 about: coarse noise of several scales."""
    whole = torch.full((3, size, size), 0.5)
    for cells in COARSENESS:
        coarse = torch.randn(1, 3, cells, cells, generator=chance) * 0.12
        whole += F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)[0]
    return whole


def _disc(size: int, chance: torch.Generator) -> Tensor:
    """Return (S, S) int64: 1 inside a disc somewhere in the picture."""
    low, high = RADIUS
    radius = size * (low + (high - low) * torch.rand((), generator=chance))
    row, column = radius + (size - 2 * radius) * torch.rand(2, generator=chance)
    rows, columns = torch.arange(size)[:, None], torch.arange(size)
    away: Tensor = (rows - row) ** 2 + (columns - column) ** 2
    return (away < radius**2).long()
