"""All rows of the classifier, learned together on features of new and old classes."""

from collections.abc import Callable

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND
from sats_core.losses import unbiased_distillation
from sats_core.method_settings import FitSettings
from sats_core.methods.features import FeatureMemory, usual_share
from sats_core.methods.fits import Fit, Rows, balanced
from sats_core.methods.sampling import Seen
from sats_core.models import GrowingClassifier, Segmenter


def realign(
    model: Segmenter,
    before: GrowingClassifier,
    seen: Seen,
    memory: FeatureMemory,
    settings: FitSettings,
    check: Callable[[], None],
) -> tuple[Rows, FeatureMemory]:
    """Learn all C rows of a model, old ones too: each is asked for by pixels of its own class.

    Args:
        model: whose classifier's rows are changed in place.
        before: the classifier before the step.
        seen: the step's pixels.
        memory: what the version before keeps.
        settings: of the fit.
        check: called before every evaluation; what it raises ends the fit.

    Returns:
        What was added to the rows, and the memory as the model sees it now.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
    """
    now = model.classifier
    presence = settings.presence or usual_share(before.channels, now.channels)
    own = FeatureMemory.of(seen.before, hides=before.channels)
    old_logits = before.logits(memory.among(own, presence).features)
    if seen.after is not seen.before:
        memory = memory.followed(seen.before, seen.after)
        own = FeatureMemory.of(seen.after, hides=before.channels)
    pixels = memory.among(own, presence)
    rows = realigned(pixels, now.logits(pixels.features), old_logits, settings, check)
    now.move_rows(rows.weight, rows.bias)
    return rows, memory


def realigned(
    pixels: FeatureMemory,
    logits: Tensor,
    old_logits: Tensor,
    settings: FitSettings,
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


class _AllRows(Fit):
    def __init__(
        self,
        pixels: FeatureMemory,
        logits: Tensor,
        old_logits: Tensor,
        settings: FitSettings,
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
        logits = self._start + self.outputs()
        possible = logits.masked_fill(self._impossible, -torch.inf).logsumexp(dim=0)
        cross_entropy = (logits.logsumexp(dim=0) - possible) @ self.weights
        distillation = unbiased_distillation(logits[None], self._old) @ self._distilled
        return {
            "cross_entropy": cross_entropy,
            "distillation": distillation.sum(),
            "decay": self._settings.decay * self.decayed(self._shares),
        }
