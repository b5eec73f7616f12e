"""The training loop."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from sats_core.data.batches import StepBatches, made_ahead
from sats_core.errors import DivergedError
from sats_core.evaluation.predict import normalise
from sats_core.events import ProgressEvent
from sats_core.methods import Finetune
from sats_core.models import Segmenter
from sats_core.settings import StepSettings
from sats_core.training import checkpoint
from sats_core.training.progress import Emit, Progress
from sats_core.training.schedule import make_optimizer, rate_at


class StoppedError(Exception):
    """Somebody asked the step to stop; its last checkpoint stays."""


CPU_AUTOCAST_FROM = 256
"""Crop size, pixels, from which bfloat16 pays on a CPU; below it the casts cost more."""


def autocast(device: torch.device, size: int) -> AbstractContextManager[None]:
    """Return bfloat16 autocast where the device computes in it with profit, else nothing."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:
        # Without these instructions bfloat16 is emulated, slower than float32.
        able = size >= CPU_AUTOCAST_FROM and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def train(
    model: Segmenter,
    method: Finetune,
    batches: StepBatches,
    settings: StepSettings,
    work: Path,
    fingerprint: str,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> None:
    """Train `model` in place; resumes from the checkpoint in `work` where there is one.

    A resumed run ends in the same weights as one that was never interrupted: order, augmentation
    and dropout of an epoch depend on seed and epoch alone.

    Args:
        model: to train, on its device.
        method: gives the loss terms.
        batches: the step's training pictures.
        settings: filled in.
        work: folder of the checkpoint, written after every epoch.
        fingerprint: of the step; a checkpoint of another one is not used.
        emit: where progress goes.
        should_stop: asked before every batch.

    Raises:
        StoppedError: `should_stop` said yes.
        DivergedError: a loss is not finite.
    """
    device = next(model.parameters()).device
    optimizer = make_optimizer(model, settings)
    first = checkpoint.resume(work, model, optimizer, fingerprint)
    steps = settings.epochs * len(batches)
    start = ProgressEvent(
        phase="training",
        epoch=first,
        epochs=settings.epochs,
        step=first * len(batches),
        steps=steps,
    )
    progress = Progress(emit, start, (steps - start.step) * batches.batch_size)
    for epoch in range(first, settings.epochs):
        torch.manual_seed(settings.seed * 100_003 + epoch)
        model.train()
        totals: dict[str, float] = {}
        epoch_batches = batches.epoch(epoch)
        if device.type == "cuda":
            epoch_batches = made_ahead(epoch_batches)
        for number, (pictures, labels) in enumerate(epoch_batches, start=1):
            if should_stop():
                raise StoppedError
            step = epoch * len(batches) + number
            rate = rate_at(step - 1, steps, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            pixels = normalise(pictures.to(device, non_blocking=True), model)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            with autocast(device, settings.size):
                terms = method.loss_terms(pixels, labels.to(device, non_blocking=True))
            loss = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
            optimizer.step()
            _add(totals, terms)
            progress.advance(
                len(pictures),
                step=step,
                learning_rate=rate,
                losses={name: total / number for name, total in totals.items()},
            )
        checkpoint.save(work, model, optimizer, epoch + 1, fingerprint)
        progress.end_epoch(epoch + 1)


def _add(totals: dict[str, float], terms: Mapping[str, Tensor]) -> None:
    for name, term in terms.items():
        value = term.item()
        if not torch.isfinite(term):
            raise DivergedError(
                f"the loss term {name} is {value}: a lower learning rate or weight may help"
            )
        totals[name] = totals.get(name, 0.0) + value
