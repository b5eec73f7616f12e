"""Optimiser and learning rate."""

from typing import Any

import torch
from torch import nn

from sats_core.settings import StepSettings

POWER = 0.9
"""Of the polynomial decay, as published."""
MOMENTUM = 0.9
MOMENTS = {"adamw": 2, "sgd": 1}
"""Numbers that an optimiser keeps of each weight."""
DECAYS = {"adamw": 0.01, "sgd": 1e-4}
"""Weight decays; adamw's as in SegFormer, sgd's as published."""


def filled_in(settings: StepSettings, base: bool) -> StepSettings:
    """Return the settings as they are run: defaults that hang on the step are filled in."""
    decay = settings.weight_decay
    decay = DECAYS[settings.optimizer] if decay is None else decay
    return settings.model_copy(
        update={
            "learning_rate": settings.peak_rate(base),
            "weight_decay": decay,
            "fusion": settings.fusion and not base,
        }
    )


def make_optimizer(model: nn.Module, settings: StepSettings) -> torch.optim.Optimizer:
    """Return the optimiser of filled-in settings; norms and biases are not decayed."""
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    rest = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    rate = settings.learning_rate or 0.0
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def moments_of(model: nn.Module, settings: StepSettings) -> int:
    """Return the bytes that the optimiser takes from its first step on."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return weights * MOMENTS[settings.optimizer]


def rate_at(step: int, steps: int, settings: StepSettings) -> float:
    """Return the learning rate of step 0 <= `step` < `steps`.

    It rises linearly over the warm-up, then falls as (1 - t)^0.9 over what is left.
    """
    peak = settings.learning_rate or 0.0
    rising = int(settings.warmup * steps)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return float(peak * (1 - (step - rising) / (steps - rising)) ** POWER)
