"""All rows of the classifier, learned together on features of new and old classes."""

from collections.abc import Callable

import torch
from torch import Tensor

from sats_core.losses import truthful_cross_entropy, unbiased_distillation
from sats_core.methods.fits import Fit, Rows, balanced
from sats_core.methods.sampling import PixelSample
from sats_core.settings import FrozenSettings


def realign(
    sample: PixelSample,
    logits: Tensor,
    old_logits: Tensor,
    settings: FrozenSettings,
    check: Callable[[], None],
) -> Rows:
    """Learn what all C rows change, old ones too: each is asked for by pixels of its own class.

    The loss is MiB's, unbiased cross-entropy and unbiased distillation, the latter not where a new
    class is labelled: there the truth is known. + a small L2 penalty on the change.

    Args:
        sample: P pixels, their channels as kinds; 0 is background or any class known before.
        logits: (P, C) of the rows as they are.
        old_logits: (P, C_old) of the old model there.
        settings: of the method.
        check: called before every evaluation; what it raises ends the fit.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
    """
    return _AllRows(sample, logits, old_logits, settings).solve(settings, check)


class _AllRows(Fit):
    def __init__(
        self,
        sample: PixelSample,
        logits: Tensor,
        old_logits: Tensor,
        settings: FrozenSettings,
    ) -> None:
        weights = balanced(sample.weights, sample.kinds, settings.class_balance)
        classes, self._known = logits.shape[1], old_logits.shape[1]
        super().__init__(sample.features, weights, classes)
        self._settings = settings
        self._labels = sample.kinds[None]
        self._shares = torch.bincount(sample.kinds, weights, classes)
        self._start = logits.double().T
        self._old = old_logits.double().T[None]
        # As a sum over channels, like the cross-entropy; the loss is their mean.
        whole = settings.distillation_weight * self._known
        self._distilled = whole * weights * (sample.kinds < self._known)

    def terms(self) -> dict[str, Tensor]:
        """See `Fit.terms`."""
        logits = (self._start + self.rows @ self.inputs)[None]
        cross_entropy = truthful_cross_entropy(logits, self._labels, self._known) @ self.weights
        distillation = unbiased_distillation(logits, self._old) @ self._distilled
        return {
            "cross_entropy": cross_entropy.sum(),
            "distillation": distillation.sum(),
            "decay": self._settings.decay * self.decayed(self._shares),
        }
