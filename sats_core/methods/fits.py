"""Small smooth problems over the classifier's rows, solved to convergence on features that stay."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sats_core.errors import DivergedError
from sats_core.method_settings import FitSettings

HISTORY = 20
"""Steps that L-BFGS remembers."""
LEAST_SHARE = 1e-4
"""Of all pixels, that a class's row is decayed by at least; one may have no pixel at all."""
FLATTEST = 1e-3
"""Least deviation of a feature; one that hardly moves is not blown up."""


class Rows(NamedTuple):
    """What was learned: what is added to each row.

    Attributes:
        weight: (R, D).
        bias: (R,).
        losses: each weighted term at the solution.
        gradient: largest of the loss there; 0 where it is solved exactly.
        iterations: steps of L-BFGS that were made.
    """

    weight: Tensor
    bias: Tensor
    losses: dict[str, float]
    gradient: float
    iterations: int

    def unsolved(self, settings: FitSettings) -> str | None:
        """Return what to warn of where the search ended before it had found the solution."""
        if self.gradient <= settings.tolerance:
            return None
        return (
            f"the rows were not solved: after {self.iterations} steps the largest gradient "
            f"is {self.gradient:.2g}, above the tolerance of {settings.tolerance:.2g}"
        )


class Standard(NamedTuple):
    """What values are standardised by: mean (D,) and deviation (D,)."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, values: Tensor, weights: Tensor) -> "Standard":
        """Return those of values (P, D) with weights (P,) of sum 1."""
        mean = weights @ values.double()
        spread = weights @ (values.double() - mean).square()
        return cls(mean, spread.sqrt().clamp(min=FLATTEST))

    def inputs(self, values: Tensor) -> Tensor:
        """Return values (P, D) standardised, with ones for the bias behind: (D + 1, P) float64."""
        ones = self.mean.new_ones(len(values), 1)
        return torch.cat([(values.double() - self.mean) / self.deviation, ones], dim=1).T

    def folded(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight (R, D) and bias (R,) that do to values what rows (R, D + 1) do to inputs.

        Both are new tensors.
        """
        weight = rows[:, :-1] / self.deviation
        return weight, rows[:, -1] - weight @ self.mean


class Fit(ABC):
    """A loss over rows (R, D + 1) of standardised features, the bias last, from 0 on."""

    def __init__(self, features: Tensor, weights: Tensor, rows: int) -> None:
        """Take P pixels' features (P, D), their weights (P,) of sum 1, and how many rows learn."""
        self.weights = weights
        self._standard = Standard.of(features, weights)
        self._inputs = self._standard.inputs(features)
        self.rows = self._inputs.new_zeros(rows, len(self._inputs)).requires_grad_()

    @abstractmethod
    def terms(self) -> dict[str, Tensor]:
        """Return the weighted terms, scalars by name."""

    def learned(self) -> list[Tensor]:
        """Return all that is learned, the rows first."""
        return [self.rows]

    def outputs(self) -> Tensor:
        """Return what the rows give on every pixel, (R, P)."""
        return self.rows @ self._inputs

    def decayed(self, shares: Tensor) -> Tensor:
        """Return half of each squared row, times the share (R,) of the pixels that is its class's.

        A rare class must not be held harder than a common one, whose pixels pull more.
        """
        squares = self.rows[:, :-1].square().sum(dim=1)
        return shares.clamp(min=LEAST_SHARE) @ squares / 2

    def solve(self, settings: FitSettings, check: Callable[[], None]) -> Rows:
        """Return the solution: float64, strong-Wolfe search.

        It is the same with any number of threads, unless `outputs` computes in less.

        Args:
            settings: how long to search, and when it is found.
            check: called before every evaluation; what it raises ends the fit.

        Raises:
            DivergedError: the loss or its gradient is not finite, at the start or on the way.
        """
        optimizer = torch.optim.LBFGS(
            self.learned(),
            max_iter=settings.iterations,
            max_eval=2 * settings.iterations,
            tolerance_grad=settings.tolerance,
            # The loss is this flat only where the gradient is too: the gradient ends a fit.
            tolerance_change=min(1e-9, settings.tolerance**2 / 10),
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )

        def evaluate() -> Tensor:
            check()
            optimizer.zero_grad()
            loss = self._loss()
            loss.backward()
            self._largest_gradient()  # torch's line search does not stand one that is not finite
            return loss

        optimizer.step(evaluate)
        evaluate()  # the line search may have looked at another point last
        return self._solution(optimizer.state[self.rows]["n_iter"])

    def _loss(self) -> Tensor:
        terms = self.terms()
        for name, term in terms.items():
            if not math.isfinite(term.item()):
                raise DivergedError(f"the loss term {name} of the rows is {term.item()}")
        return torch.stack(list(terms.values())).sum()

    def _largest_gradient(self) -> float:
        found = [each.grad.abs().max() for each in self.learned() if each.grad is not None]
        largest = torch.stack(found).max().item() if found else 0.0
        if not math.isfinite(largest):
            raise DivergedError("the gradient of the rows is not finite")
        return largest

    @torch.no_grad()
    def _solution(self, iterations: int) -> Rows:
        """Return the rows for features as they are, found in so many steps."""
        losses = {name: term.item() for name, term in self.terms().items()}
        weight, bias = self._standard.folded(self.rows)
        return Rows(weight, bias, losses, self._largest_gradient(), iterations)


def balanced(weights: Tensor, kinds: Tensor, class_balance: float) -> Tensor:
    """Return weights (P,) float64 of sum 1, each kind's times frequency^-class_balance."""
    weights = weights.double()
    counts = torch.bincount(kinds, weights)
    weights = weights * (counts / counts.sum())[kinds] ** -class_balance
    return weights / weights.sum()
