"""Rows solved anew on what a version said before: what was some classes is background."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sats_core.classes import BACKGROUND
from sats_core.method_settings import FitSettings
from sats_core.methods.fits import Fit, Rows


def absorbed(
    features: Tensor,
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    gone: Sequence[int],
    settings: FitSettings,
    check: Callable[[], None],
) -> Rows:
    """Return what is to be added to the background's row once other rows are gone.

    The loss is the cross-entropy with what the model before says, p(background) + p(gone) taken
    together; where a pixel is labelled as one that is gone, with background alone. + a small L2
    penalty on the change. Only the background's row learns, so the problem is strictly convex.

    Args:
        features: (P, D), P pixels.
        logits: (P, C) of the model before.
        labels: (P,) channels of the model before.
        weights: (P,) of sum 1.
        gone: channels of the rows that are taken away.
        settings: of the fit.
        check: called before every evaluation; what it raises ends the fit.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
    """
    logits = logits.double()
    target = absorbing(logits, gone)
    lost = torch.isin(labels, torch.tensor(list(gone), device=labels.device))
    target[lost] = 0
    target[lost, BACKGROUND] = 1
    stays = [channel for channel in range(logits.shape[1]) if channel not in gone]
    fit = _Soft(features, logits[:, stays], target, weights, 1, settings)
    return fit.solve(settings, check)


def settled(
    features: Tensor,
    logits: Tensor,
    target: Tensor,
    weights: Tensor,
    settings: FitSettings,
    check: Callable[[], None],
) -> Rows:
    """Return what is to be added to each row so that it says on new features what was said before.

    The loss is the cross-entropy with the answers before. + a small L2 penalty on the change.

    Args:
        features: (P, D), P pixels, as the rows see them now.
        logits: (P, C) of the rows as they are.
        target: (P, C) probabilities that were given before.
        weights: (P,) of sum 1.
        settings: of the fit.
        check: called before every evaluation; what it raises ends the fit.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
    """
    return _Soft(features, logits, target, weights, logits.shape[1], settings).solve(
        settings, check
    )


def absorbing(logits: Tensor, gone: Sequence[int]) -> Tensor:
    """Return probabilities (P, C - N): the background's has those of N channels that are gone."""
    scores = logits.softmax(dim=1)
    stays = [channel for channel in range(logits.shape[1]) if channel not in gone]
    left = scores[:, stays].clone()
    left[:, BACKGROUND] += scores[:, list(gone)].sum(dim=1)
    return left


class _Soft(Fit):
    """Cross-entropy with given probabilities, over the first rows; the others stay."""

    def __init__(
        self,
        features: Tensor,
        logits: Tensor,
        target: Tensor,
        weights: Tensor,
        rows: int,
        settings: FitSettings,
    ) -> None:
        super().__init__(features, weights.double(), rows)
        self._decay = settings.decay
        self._start, self._target = logits.double().T, target.double().T
        self._shares = (self._target @ self.weights)[:rows]

    def terms(self) -> dict[str, Tensor]:
        """See `Fit.terms`."""
        learned = self._start[: len(self.rows)] + self.outputs()
        logits = torch.cat([learned, self._start[len(self.rows) :]])
        cross_entropy = logits.logsumexp(dim=0) - (self._target * logits).sum(dim=0)
        return {
            "cross_entropy": cross_entropy @ self.weights,
            "decay": self._decay * self.decayed(self._shares),
        }
