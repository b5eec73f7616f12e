"""New rows of the classifier, learned alone while every other row stays."""

from collections.abc import Callable

import torch
from torch import Tensor

from sats_core.classes import IGNORE
from sats_core.losses import truthful_cross_entropy, unbiased_distillation
from sats_core.method_settings import FrozenSettings
from sats_core.methods.fits import Fit, Rows, balanced
from sats_core.methods.sampling import PixelSample

KNOWN_KIND, FIRST_NEW_KIND = 1, 2
"""Kinds of labels: 0 background, 1 any class known before, and from 2 on each new class."""


def kinds_of(labels: Tensor, old_classes: int) -> Tensor:
    """Return labels, of any shape, as kinds: with the old rows fixed, one old class is as any.

    Args:
        labels: int64: new classes, replayed old ones, 0 elsewhere, 255 ignored.
        old_classes: channels of the old model, background included.
    """
    new = labels - (old_classes - FIRST_NEW_KIND)
    kinds = torch.where(labels < old_classes, labels.clamp(max=KNOWN_KIND), new)
    return torch.where(labels == IGNORE, labels, kinds)


def solve_rows(
    sample: PixelSample,
    old_logits: Tensor,
    new: int,
    settings: FrozenSettings,
    check: Callable[[], None],
) -> Rows:
    """Learn N new rows and the background's residual with every other row fixed.

    The loss is MiB's, unbiased cross-entropy and unbiased distillation, + a small L2 penalty. Old
    classes enter it only through what they have together, so they are summed to one channel
    first: both terms keep their gradients, each changes by a constant.
    Without residual and distillation the problem is convex.

    Args:
        sample: P pixels, channels as kinds.
        old_logits: (P, C_old) of the old model there.
        new: number of new rows N.
        settings: of the method.
        check: called before every evaluation; what it raises ends the fit.

    Returns:
        The background's change in row 0, the new classes' rows behind it.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
    """
    return NewRows(sample, old_logits, new, settings).solve(settings, check)


class NewRows(Fit):
    """The problem that `solve_rows` solves."""

    def __init__(
        self, sample: PixelSample, old_logits: Tensor, new: int, settings: FrozenSettings
    ) -> None:
        """Take what `solve_rows` takes."""
        kinds = kinds_of(sample.kinds, old_logits.shape[1])
        weights = balanced(sample.weights, kinds, settings.class_balance)
        super().__init__(sample.features, weights, 1 + new)
        self._settings = settings
        self._kinds = kinds[None]
        shares = torch.bincount(kinds, weights, FIRST_NEW_KIND + new)
        self._shares = torch.cat([shares[:1], shares[FIRST_NEW_KIND:]])
        self._old = _summed(old_logits.double()).T[None]

    def terms(self) -> dict[str, Tensor]:
        """See `Fit.terms`."""
        learned = self.outputs()[None]
        background = self._old[:, :1] + self._settings.residual * learned[:, :1]
        logits = torch.cat([background, self._old[:, 1:], learned[:, 1:]], dim=1)
        known = self._old.shape[1]
        cross_entropy = truthful_cross_entropy(logits, self._kinds, known) @ self.weights
        distillation = unbiased_distillation(logits, self._old) @ self.weights
        # As a sum over channels, like the cross-entropy; the loss is their mean.
        weight = self._settings.distillation_weight * known
        return {
            "cross_entropy": cross_entropy.sum(),
            "distillation": weight * distillation.sum(),
            "decay": self._settings.decay * self.decayed(self._shares),
        }


def _summed(old_logits: Tensor) -> Tensor:
    """Return (P, 2): the background's logit, and that of all other old classes together."""
    return torch.cat([old_logits[:, :1], old_logits[:, 1:].logsumexp(1, keepdim=True)], dim=1)
