"""Models and a batch on which training steps are timed."""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from sats_core.methods import METHODS, Finetune, make_method
from sats_core.methods.finetune import at_size, cross_entropy
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.training.loop import autocast
from sats_core.training.schedule import filled_in, make_optimizer
from sats_core.training.start import placed

DESCENDING = tuple(name for name, kind in METHODS.items() if issubclass(kind, Finetune))
"""Methods that learn by gradient descent; `frozen` takes no such steps."""
OLD, NEW = 16, 1
"""Channels of the old model, and new ones."""


@dataclass(frozen=True)
class Size:
    """One setting that is timed."""

    backbone: str
    pixels: int
    batch: int


class Bench:
    """Two models and one batch."""

    def __init__(self, size: Size, device: str) -> None:
        torch.manual_seed(0)
        self.size, self.device = size, torch.device(device)
        self.old = Segmenter(seeded_backbone(size.backbone, 0), [OLD])
        grown = copy.deepcopy(self.old)
        grown.classifier.grow(NEW)
        self.grown = placed(grown)
        placed(self.old)
        shape = (size.batch, 3, size.pixels, size.pixels)
        pixels = torch.randn(shape, device=self.device)
        self.pixels = pixels.contiguous(memory_format=torch.channels_last)
        self.labels = torch.zeros(size.batch, *shape[2:], dtype=torch.long, device=self.device)
        quarter = size.pixels // 4
        self.labels[:, quarter : 2 * quarter, quarter : 3 * quarter] = OLD

    def settings(self, method: str) -> StepSettings:
        """Return the settings of a step by one method."""
        wanted = StepSettings(
            method=method,
            backbone=self.size.backbone,
            size=self.size.pixels,
            batch_size=self.size.batch,
            epochs=1,
        )
        return filled_in(wanted, base=False)

    def step(self, method: str) -> Callable[[], None]:
        """Return one training step by a method, as the loop takes it."""
        model, settings = copy.deepcopy(self.grown).train(), self.settings(method)
        made = self.made(settings, model)
        made.prepare([(self.pixels, self.labels)])
        optimizer = make_optimizer(model, settings)

        def once() -> None:
            with autocast(self.device, self.size.pixels):
                terms = made.loss_terms(self.pixels, self.labels)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
            optimizer.step()

        return once

    def made(self, settings: StepSettings, model: Segmenter) -> Finetune:
        """Return the method of filled-in settings.

        Raises:
            TypeError: it takes no training steps.
        """
        made = make_method(settings, model, self.old)
        if not isinstance(made, Finetune):
            raise TypeError(f"{settings.method} does not learn by gradient descent")
        return made

    def bare(self) -> Callable[[], None]:
        """Return forward pass, cross-entropy and backward pass, and nothing else."""
        model = copy.deepcopy(self.grown).train()

        def once() -> None:
            model.zero_grad(set_to_none=True)
            with autocast(self.device, self.size.pixels):
                loss = cross_entropy(at_size(model(self.pixels), self.labels), self.labels)
            loss.backward()

        return once

    def synchronise(self) -> None:
        """Wait until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def timed(bench: Bench, calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the median of each call, ms; calls take turns, so that a slow spell hits all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            bench.synchronise()
            began = time.perf_counter()
            call()
            bench.synchronise()
            if number:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in times.items()}
