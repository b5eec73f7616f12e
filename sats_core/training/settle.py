"""Rows solved anew on features that have moved, so that they say what they said before."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND, IGNORE
from sats_core.method_settings import FitSettings
from sats_core.methods.absorb import settled
from sats_core.methods.finetune import at_size
from sats_core.methods.fits import Rows
from sats_core.methods.sampling import PixelSample, PixelSampler
from sats_core.methods.unlearn import is_gone
from sats_core.models import Segmenter

SETTINGS = FitSettings(decay=0.01, pixels=10_000, tolerance=1e-3)


def settle(
    model: Segmenter,
    teacher: Segmenter,
    gone: int,
    pictures: Iterable[tuple[Tensor, Tensor]],
    seed: int,
    check: Callable[[], None],
) -> str | None:
    """Solve all rows of a model whose features were trained, and return what to warn of.

    On pixels that are held they are to give the teacher's answers, on those that go background.

    Args:
        model: its rows are changed in place.
        teacher: of the same rows, on features as they were.
        gone: number of classes that go.
        pictures: (B, 3, H, W) with labels (B, H, W) as `sats_core.methods.unlearn` reads them.
        seed: of the draw of pixels.
        check: called often; what it raises ends it.

    Raises:
        DivergedError: the rows cannot be solved.
    """
    sample = _drawn(model, teacher, gone, pictures, seed, check)
    if sample is None:
        return None
    rows = _solved(model, sample, check)
    model.classifier.move_rows(rows.weight, rows.bias)
    return rows.unsolved(SETTINGS)


def _solved(model: Segmenter, sample: PixelSample, check: Callable[[], None]) -> Rows:
    channels, width = model.classifier.channels, model.head.width
    features, answers = sample.features.split((width, channels), dim=1)
    target = answers.double().softmax(dim=1)
    gone = sample.kinds == channels
    target[gone] = 0
    target[gone, BACKGROUND] = 1
    weights = sample.weights / sample.weights.sum()
    logits = model.classifier.logits(features.contiguous())
    return settled(features, logits, target, weights, SETTINGS, check)


@torch.no_grad()
def _drawn(
    model: Segmenter,
    teacher: Segmenter,
    gone: int,
    pictures: Iterable[tuple[Tensor, Tensor]],
    seed: int,
    check: Callable[[], None],
) -> PixelSample | None:
    """Draw pixels evenly over what the teacher takes them for, those that go as a kind more; each
    with the model's features and the teacher's logits behind them."""
    channels = model.classifier.channels
    sampler = PixelSampler(channels + 1, SETTINGS.pixels, seed)
    model.eval()
    for batch, labels in pictures:
        check()
        answers = teacher(batch)
        kinds = at_size(answers, labels).argmax(dim=1)
        goes = is_gone(labels, gone)
        kinds = torch.where(goes, channels, kinds).masked_fill(labels == IGNORE, IGNORE)
        seen = torch.cat([model.head(model.backbone(batch)), answers], dim=1).float()
        for features, kind in zip(seen, kinds, strict=True):
            sampler.add(features, kind)
    return sampler.sample()
