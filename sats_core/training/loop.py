"""The training loop."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from sats_core.data.batches import StepBatches, made_ahead, made_at_once
from sats_core.errors import DivergedError
from sats_core.evaluation.predict import normalise
from sats_core.events import ProgressEvent
from sats_core.methods import Finetune
from sats_core.models import Segmenter
from sats_core.settings import StepSettings
from sats_core.training import checkpoint
from sats_core.training.division import UNDIVIDED, Division
from sats_core.training.progress import Emit, Progress
from sats_core.training.ranks import ALONE, Forward, Ranks
from sats_core.training.schedule import make_optimizer, rate_at


class StoppedError(Exception):
    """Somebody asked the step to stop; its last checkpoint stays."""


CPU_AUTOCAST_FROM = 256
"""Crop size, pixels, from which bfloat16 pays on a CPU; below it the casts cost more."""


def autocast(device: torch.device, size: int) -> AbstractContextManager[None]:
    """Return bfloat16 autocast where the device computes in it with profit, else nothing."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Without these instructions bfloat16 is emulated, slower than float32.
        able = size >= CPU_AUTOCAST_FROM and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def terms_of(
    forward: Forward, model: Segmenter, pictures: Tensor, labels: Tensor, size: int
) -> Mapping[str, Tensor]:
    """Return the loss terms of training input, computed where the model is.

    Args:
        forward: from normalised pictures and labels to terms.
        model: that learns.
        pictures: (B, 3, S, S) uint8.
        labels: (B, S, S) uint8.
        size: of a crop, pixels, as the settings have it.
    """
    device = next(model.parameters()).device
    pixels = normalise(pictures.to(device, non_blocking=True), model)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with autocast(device, size):
        return forward(pixels, labels.to(device, non_blocking=True).long())


def train(
    model: Segmenter,
    method: Finetune,
    batches: StepBatches,
    settings: StepSettings,
    work: Path,
    fingerprint: str,
    emit: Emit,
    should_stop: Callable[[], bool],
    ranks: Ranks = ALONE,
    division: Division = UNDIVIDED,
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
        ranks: who trains along.
        division: in what parts this one computes its share of a batch.

    Raises:
        StoppedError: `should_stop` said yes, here or to another rank.
        DivergedError: a loss or its gradient is not finite.
    """
    device = next(model.parameters()).device
    made = made_ahead if device.type == "cuda" else made_at_once
    optimizer = make_optimizer(model, settings)
    first = ranks.same(checkpoint.resume(work, model, optimizer, fingerprint))
    forward = ranks.joined(model, method.loss_terms)
    own = ranks.own(batches.batch_size)
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
        model.train_step(updates_norms=method.updates_norms)
        sums = _LossSums()
        for number, batch in enumerate(made(batches.epoch(epoch, own)), start=1):
            if not ranks.agree(not should_stop()):
                raise StoppedError
            step = epoch * len(batches) + number
            rate = rate_at(step - 1, steps, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            model.dropout.draw(batches.batch_size, own, device)
            shares = []
            for pictures, labels, last in division.parts_of(batch):
                with ranks.meeting(last):
                    terms = terms_of(forward, model, pictures, labels, settings.size)
                    values = torch.stack(list(terms.values()))
                    values = values * (len(pictures) / batches.batch_size)
                    (values.sum() * ranks.count).backward()  # ranks meet in their gradients' mean
                shares.append(values.detach())
            norm = nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
            optimizer.step()
            sums.add(list(terms), ranks.total(torch.stack(shares).sum(dim=0)), norm)
            progress.advance(batches.batch_size, sums.means, step=step, learning_rate=rate)
        means = sums.means()  # before the checkpoint: one of a step that has diverged helps nobody
        if ranks.leads:
            checkpoint.save(work, model, optimizer, epoch + 1, fingerprint)
        progress.end_epoch(epoch + 1, **means)


class _LossSums:
    """Loss terms of an epoch, summed where they are computed: reading them waits for the device."""

    def __init__(self) -> None:
        self._names: Sequence[str] = ()
        self._sums: Tensor | None = None
        self._last = torch.zeros(0)
        self._norm = torch.zeros(())
        self._batches = 0

    def add(self, names: Sequence[str], values: Tensor, norm: Tensor) -> None:
        """Add the terms (T,) of one batch, without their gradient, and that gradient's length."""
        self._names = names
        if self._sums is None:
            self._sums, self._last, self._norm = values, values, norm
        else:
            # Stays at the first batch that is not finite: after it every term is nan.
            self._last = torch.where(self._last.isfinite().all(), values, self._last)
            self._norm = torch.where(self._norm.isfinite(), norm, self._norm)
            self._sums = self._sums + values
        self._batches += 1

    def means(self) -> dict[str, dict[str, float]]:
        """Return `losses`, each term's mean since the epoch began.

        Raises:
            DivergedError: one was not finite, in this batch or any before; it names the first. Or
                a gradient was not, which after an epoch's last batch no loss tells any more.
        """
        for name, value in zip(self._names, self._last.tolist(), strict=True):
            if not math.isfinite(value):
                raise DivergedError(
                    f"the loss term {name} is {value}: a lower learning rate or weight may help"
                )
        if not math.isfinite(length := self._norm.item()):
            raise DivergedError(
                f"the gradient's length is {length}: a lower learning rate or weight may help"
            )
        sums = [] if self._sums is None else self._sums.tolist()
        means = (total / self._batches for total in sums)
        return {"losses": dict(zip(self._names, means, strict=True))}
