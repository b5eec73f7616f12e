"""Taking rows away, so that what they found is background and all else is as it was."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND
from sats_core.data.transforms import Pixels
from sats_core.evaluation.predict import labelled_input
from sats_core.method_settings import FitSettings
from sats_core.methods.absorb import absorbed
from sats_core.methods.features import FeatureMemory
from sats_core.methods.finetune import at_size
from sats_core.methods.fits import Rows
from sats_core.methods.sampling import PixelSampler
from sats_core.models import Segmenter

SETTINGS = FitSettings()
OWN_SHARE = 0.5
"""Of the weight, that the pictures at hand have beside what the version keeps of its features."""


@dataclass(frozen=True)
class Hidden:
    """A model without some rows, and what is to be told of how it was made.

    Attributes:
        model: the new one.
        warnings: a sentence each.
    """

    model: Segmenter
    warnings: tuple[str, ...]


def hidden(
    before: Segmenter,
    size: int,
    kept: FeatureMemory | None,
    gone: Sequence[int],
    pictures: Iterable[tuple[Pixels, Pixels]],
    seed: int,
    check: Callable[[], None],
) -> Hidden:
    """Return the model without some rows, the background's solved anew; nothing else differs.

    Args:
        before: the model; left in evaluation mode.
        size: longer side of what it sees, pixels.
        kept: features that its version keeps.
        gone: channels of the rows.
        pictures: at hand (H, W, 3), with labels (H, W) as its channels, 0 where they say nothing.
        seed: of the draw of pixels.
        check: called often; what it raises ends it.

    Raises:
        DivergedError: the row cannot be solved.
    """
    model = copy.deepcopy(before)
    model.classifier = before.classifier.without(gone)
    own = _drawn(before.eval(), size, pictures, seed, check)
    pixels = own
    if kept is not None and len(kept.labels):
        kept = kept.on(next(before.parameters()).device)
        pixels = kept if own is None else kept.among(own, OWN_SHARE)
    if pixels is None:
        return Hidden(model, (NOTHING_AT_HAND,))
    rows = _solved(before, pixels, gone, check)
    model.classifier.move_background(rows.weight[0], rows.bias[0])
    warning = rows.unsolved(SETTINGS)
    return Hidden(model, (warning,) if warning else ())


NOTHING_AT_HAND = (
    "the version keeps no features and no pictures are at hand: what was a class that goes falls "
    "to whatever comes second there, which need not be background"
)


def _solved(
    before: Segmenter, pixels: FeatureMemory, gone: Sequence[int], check: Callable[[], None]
) -> Rows:
    logits = before.classifier.logits(pixels.features)
    weights = pixels.weights / pixels.weights.sum()
    return absorbed(pixels.features, logits, pixels.labels, weights, gone, SETTINGS, check)


@torch.no_grad()
def _drawn(
    before: Segmenter,
    size: int,
    pictures: Iterable[tuple[Pixels, Pixels]],
    seed: int,
    check: Callable[[], None],
) -> FeatureMemory | None:
    """Draw pixels evenly over what the pictures show, by label or by the model's opinion."""
    sampler = PixelSampler(before.classifier.channels, SETTINGS.pixels, seed)
    for picture, label in pictures:
        check()
        pixels, marks = labelled_input(picture, label, size, before)
        features = before.head(before.backbone(pixels)).float()
        sampler.add(features[0], with_opinion(before, features, marks)[0])
    sample = sampler.sample()
    return None if sample is None else FeatureMemory.of(sample, hides=BACKGROUND + 1)


def with_opinion(model: Segmenter, features: Tensor, labels: Tensor) -> Tensor:
    """Return labels (B, H, W) with the model's own answer where they say nothing (0)."""
    called = at_size(model.classifier(features), labels).argmax(dim=1)
    return torch.where(labels == BACKGROUND, called, labels)
