"""The background's row, solved anew so that what was some classes is background."""

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
    return _Background(features, logits, labels, weights, gone, settings).solve(settings, check)


def absorbing(logits: Tensor, gone: Sequence[int]) -> Tensor:
    """Return probabilities (P, C - N): the background's has those of N channels that are gone."""
    scores = logits.softmax(dim=1)
    stays = [channel for channel in range(logits.shape[1]) if channel not in gone]
    left = scores[:, stays].clone()
    left[:, BACKGROUND] += scores[:, list(gone)].sum(dim=1)
    return left


class _Background(Fit):
    def __init__(
        self,
        features: Tensor,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor,
        gone: Sequence[int],
        settings: FitSettings,
    ) -> None:
        super().__init__(features, weights.double(), 1)
        self._decay = settings.decay
        logits = logits.double()
        target = absorbing(logits, gone)
        lost = torch.isin(labels, torch.tensor(list(gone), device=labels.device))
        target[lost] = 0
        target[lost, BACKGROUND] = 1
        stays = [channel for channel in range(logits.shape[1]) if channel not in gone]
        self._start = logits[:, stays].T
        self._target = target.T
        self._share = (self.weights @ target[:, BACKGROUND])[None]

    def terms(self) -> dict[str, Tensor]:
        """See `Fit.terms`."""
        background = self._start[:1] + self.rows @ self.inputs
        logits = torch.cat([background, self._start[1:]])
        cross_entropy = logits.logsumexp(dim=0) - (self._target * logits).sum(dim=0)
        return {
            "cross_entropy": cross_entropy @ self.weights,
            "decay": self._decay * self.decayed(self._share),
        }
