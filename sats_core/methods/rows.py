"""New rows of the classifier, learned alone: a small smooth problem, solved to convergence."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sats_core.classes import IGNORE
from sats_core.errors import DivergedError
from sats_core.losses import truthful_cross_entropy, unbiased_distillation
from sats_core.methods.sampling import PixelSample
from sats_core.settings import FrozenSettings

KNOWN_KIND, FIRST_NEW_KIND = 1, 2
"""Kinds of labels: 0 background, 1 any class known before, and from 2 on each new class."""
HISTORY = 20
"""Steps that L-BFGS remembers."""
LEAST_SHARE = 1e-4
"""Of all pixels, that a class's row is decayed by at least; one may have no pixel at all."""
FLATTEST = 1e-3
"""Least deviation of a feature; one that hardly moves is not blown up."""


class Rows(NamedTuple):
    """What was learned: the background's change in row 0, the new classes' rows behind it.

    Attributes:
        weight: (1 + N, D).
        bias: (1 + N,).
        losses: each weighted term at the solution.
        gradient: largest of the loss there; 0 where it is solved exactly.
        iterations: steps of L-BFGS that were made.
    """

    weight: Tensor
    bias: Tensor
    losses: dict[str, float]
    gradient: float
    iterations: int


def kinds_of(labels: Tensor, old_classes: int) -> Tensor:
    """Return labels, of any shape, as kinds: with the old rows fixed, one old class is as any.

    Args:
        labels: int64: new classes, replayed old ones, 0 elsewhere, 255 ignored.
        old_classes: channels of the old model, background included.
    """
    new = labels - (old_classes - FIRST_NEW_KIND)
    kinds = torch.where(labels < old_classes, labels.clamp(max=KNOWN_KIND), new)
    return torch.where(labels == IGNORE, labels, kinds)


def as_channels(sample: PixelSample, old_classes: int) -> PixelSample:
    """Return the pixels whose kind says which channel they are, with that as their kind.

    Replayed old classes are left out: as a kind they are all one.
    """
    named = sample.kinds != KNOWN_KIND
    kinds = sample.kinds[named]
    channels = torch.where(kinds < KNOWN_KIND, kinds, kinds - FIRST_NEW_KIND + old_classes)
    return PixelSample(sample.features[named], channels, sample.weights[named], sample.shown)


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
    Without residual and distillation the problem is convex; float64 and a strong-Wolfe line search
    bring it to the same solution whatever the number of threads.

    Args:
        sample: P pixels, of the kinds that `kinds_of` gives.
        old_logits: (P, C_old) of the old model there.
        new: number of new rows N.
        settings: of the method.
        check: called before every evaluation; what it raises ends the fit.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
    """
    problem = _Problem(sample, old_logits, new, settings)
    optimizer = torch.optim.LBFGS(
        [problem.rows],
        max_iter=settings.iterations,
        max_eval=2 * settings.iterations,
        tolerance_grad=settings.tolerance,
        # The loss is this flat only where the gradient is too: it is the gradient that ends a fit.
        tolerance_change=min(1e-9, settings.tolerance**2 / 10),
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )

    def evaluate() -> Tensor:
        check()
        optimizer.zero_grad()
        loss = problem.loss()
        loss.backward()
        problem.largest_gradient()  # torch's line search does not stand one that is not finite
        return loss

    optimizer.step(evaluate)
    evaluate()  # the line search may have looked at another point last
    return problem.solution(optimizer.state[problem.rows]["n_iter"])


class _Problem:
    """The loss over rows (1 + N, D + 1) of standardised features, the bias last."""

    def __init__(
        self, sample: PixelSample, old_logits: Tensor, new: int, settings: FrozenSettings
    ) -> None:
        self._settings = settings
        self._kinds = sample.kinds[None]
        self._weights = _balanced(sample, settings)
        # A rare class must not be held harder than a common one, whose pixels pull more.
        shares = torch.bincount(sample.kinds, self._weights, FIRST_NEW_KIND + new)
        self._shares = torch.cat([shares[:1], shares[FIRST_NEW_KIND:]]).clamp(min=LEAST_SHARE)
        self._old = _summed(old_logits.double()).T[None]
        features = sample.features.double()
        self._mean = self._weights @ features
        spread = self._weights @ (features - self._mean).square()
        self._deviation = spread.sqrt().clamp(min=FLATTEST)
        ones = features.new_ones(len(features), 1)
        self._inputs = torch.cat([(features - self._mean) / self._deviation, ones], dim=1).T
        self.rows = features.new_zeros(1 + new, len(self._inputs)).requires_grad_()

    def terms(self) -> dict[str, Tensor]:
        """Return the weighted terms, scalars by name."""
        learned = (self.rows @ self._inputs)[None]
        background = self._old[:, :1] + self._settings.residual * learned[:, :1]
        logits = torch.cat([background, self._old[:, 1:], learned[:, 1:]], dim=1)
        known = self._old.shape[1]
        cross_entropy = truthful_cross_entropy(logits, self._kinds, known) @ self._weights
        distillation = unbiased_distillation(logits, self._old) @ self._weights
        # As a sum over channels, like the cross-entropy; the loss is their mean.
        weight = self._settings.distillation_weight * known
        decayed = self._shares @ self.rows[:, :-1].square().sum(dim=1) * self._settings.decay / 2
        return {
            "cross_entropy": cross_entropy.sum(),
            "distillation": weight * distillation.sum(),
            "decay": decayed,
        }

    def loss(self) -> Tensor:
        """Return the sum of the terms.

        Raises:
            DivergedError: one is not finite.
        """
        terms = self.terms()
        for name, term in terms.items():
            if not math.isfinite(term.item()):
                raise DivergedError(f"the loss term {name} of the new rows is {term.item()}")
        return torch.stack(list(terms.values())).sum()

    def largest_gradient(self) -> float:
        """Return the largest gradient of the rows, of what was computed last.

        Raises:
            DivergedError: one is not finite.
        """
        gradient = self.rows.new_zeros(()) if self.rows.grad is None else self.rows.grad
        largest = gradient.abs().max().item()
        if not math.isfinite(largest):
            raise DivergedError("the gradient of the new rows is not finite")
        return largest

    @torch.no_grad()
    def solution(self, iterations: int) -> Rows:
        """Return the rows for features as they are, found in so many steps."""
        losses = {name: term.item() for name, term in self.terms().items()}
        weight = self.rows[:, :-1] / self._deviation
        bias = self.rows[:, -1] - weight @ self._mean
        return Rows(weight, bias, losses, self.largest_gradient(), iterations)


def _summed(old_logits: Tensor) -> Tensor:
    """Return (P, 2): the background's logit, and that of all other old classes together."""
    return torch.cat([old_logits[:, :1], old_logits[:, 1:].logsumexp(1, keepdim=True)], dim=1)


def _balanced(sample: PixelSample, settings: FrozenSettings) -> Tensor:
    """Return the pixels' weights (P,) float64, of sum 1.

    Each kind's pixels count times frequency^-class_balance.
    """
    weights = sample.weights.double()
    counts = torch.bincount(sample.kinds, weights)
    weights = weights * (counts / counts.sum())[sample.kinds] ** -settings.class_balance
    return weights / weights.sum()
