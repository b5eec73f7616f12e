"""All rows of the classifier, learned together on features of new and old classes."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND
from sats_core.losses import unbiased_distillation
from sats_core.methods.features import FeatureMemory
from sats_core.methods.fits import Fit, Rows, balanced
from sats_core.methods.sampling import PixelSample, PixelSampler
from sats_core.models import Segmenter
from sats_core.models.classifier import GrowingClassifier
from sats_core.settings import FrozenSettings


class Seen(NamedTuple):
    """The same pixels of the step's pictures, as two classifiers see them.

    Attributes:
        before: in the model before the step, channels as kinds.
        after: (P, D) in the model after it; the very same tensor where features stay.
    """

    before: PixelSample
    after: Tensor


@torch.no_grad()
def see(
    model: Segmenter,
    teacher: Segmenter | None,
    pictures: Iterable[tuple[Tensor, Tensor]],
    pixels: int,
    seed: int,
) -> Seen | None:
    """Draw pixels of labelled pictures as two classifiers see them; None where all are ignored.

    Args:
        model: after the step, C classes.
        teacher: before it; without one both are the model.
        pictures: normalised (B, 3, H, W) with labels (B, H, W).
        pixels: to draw, evenly over the classes.
        seed: of the draw.
    """
    model.eval()
    sampler = PixelSampler(model.classifier.channels, pixels, seed)
    for batch, labels in pictures:
        features = model.head(model.backbone(batch))
        if teacher is not None:
            features = torch.cat([teacher.head(teacher.backbone(batch)), features], dim=1)
        for seen, marked in zip(features, labels, strict=True):
            sampler.add(seen, marked)
    sample = sampler.sample()
    if sample is None:
        return None
    width = model.head.width
    before = sample._replace(features=sample.features[:, :width].contiguous())
    after = before.features if teacher is None else sample.features[:, width:].contiguous()
    return Seen(before, after)


def realign(
    model: Segmenter,
    teacher: Segmenter,
    seen: Seen,
    memory: FeatureMemory,
    settings: FrozenSettings,
    check: Callable[[], None],
) -> tuple[Rows, FeatureMemory]:
    """Learn all C rows of a model, old ones too: each is asked for by pixels of its own class.

    Args:
        model: whose classifier's rows are changed in place.
        teacher: the model before the step.
        seen: the step's pixels.
        memory: what the version before keeps.
        settings: of the fit.
        check: called before every evaluation; what it raises ends the fit.

    Returns:
        What was added to the rows, and the memory as the model sees it now.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
    """
    old, now = teacher.classifier, model.classifier
    presence = settings.presence or (now.channels - old.channels) / (now.channels - 1)
    own = FeatureMemory.of(seen.before, hides=old.channels)
    old_logits = logits_of(old, memory.among(own, presence).features)
    if seen.after is not seen.before.features:
        memory = memory.followed(seen.before.features, seen.after)
        own = own._replace(features=seen.after)
    pixels = memory.among(own, presence)
    rows = realigned(pixels, logits_of(now, pixels.features), old_logits, settings, check)
    now.move_rows(rows.weight, rows.bias)
    return rows, memory


def realigned(
    pixels: FeatureMemory,
    logits: Tensor,
    old_logits: Tensor,
    settings: FrozenSettings,
    check: Callable[[], None],
) -> Rows:
    """Return what is to be added to each row.

    The loss is MiB's, unbiased cross-entropy and unbiased distillation, the latter not where a new
    class is labelled: there the truth is known. + a small L2 penalty on the change.

    Args:
        pixels: P pixels of all classes.
        logits: (P, C) of the rows as they are.
        old_logits: (P, C_old) of the old model there.
        settings: of the fit.
        check: called before every evaluation; what it raises ends the fit.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
    """
    return _AllRows(pixels, logits, old_logits, settings).solve(settings, check)


@torch.no_grad()
def logits_of(classifier: GrowingClassifier, features: Tensor) -> Tensor:
    """Return logits (P, C) of features (P, D)."""
    logits: Tensor = classifier(features[:, :, None, None])[:, :, 0, 0]
    return logits


class _AllRows(Fit):
    def __init__(
        self,
        pixels: FeatureMemory,
        logits: Tensor,
        old_logits: Tensor,
        settings: FrozenSettings,
    ) -> None:
        weights = balanced(pixels.weights, pixels.labels, settings.class_balance)
        classes, known = logits.shape[1], old_logits.shape[1]
        super().__init__(pixels.features, weights, classes)
        self._settings = settings
        self._shares = torch.bincount(pixels.labels, weights, classes)
        self._start = logits.double().T
        self._old = old_logits.double().T[None]
        channels = torch.arange(classes, device=logits.device)[:, None]
        hidden = (pixels.labels == BACKGROUND) & (channels < pixels.hides)
        self._impossible = ~((channels == pixels.labels) | hidden)
        # As a sum over channels, like the cross-entropy; the loss is their mean.
        whole = settings.distillation_weight * known
        self._distilled = whole * weights * (pixels.labels < known)

    def terms(self) -> dict[str, Tensor]:
        """See `Fit.terms`."""
        logits = self._start + self.rows @ self.inputs
        possible = logits.masked_fill(self._impossible, -torch.inf).logsumexp(dim=0)
        cross_entropy = (logits.logsumexp(dim=0) - possible) @ self.weights
        distillation = unbiased_distillation(logits[None], self._old) @ self._distilled
        return {
            "cross_entropy": cross_entropy,
            "distillation": distillation.sum(),
            "decay": self._settings.decay * self.decayed(self._shares),
        }
