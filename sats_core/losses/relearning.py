"""How well a linear probe that saw some pixels finds a class among others."""

import torch
from torch import Tensor

RIDGE = 0.01
"""Of the probe, times its pixels."""
LEAST_SPREAD = 1e-3
"""Least deviation of a feature; one that hardly moves is not blown up."""


def relearnable(taught: Tensor, shows: Tensor, asked: Tensor, expected: Tensor) -> Tensor:
    """Return the share of a class's variance that a ridge regression explains on unseen pixels.

    The probe is solved in closed form on one half and asked on the other, and both halves carry
    the gradient: what is minimised is that it can be learned, not what some probe has learned.
    Class and rest weigh the same, however many pixels they have.

    Args:
        taught: (P, D) features that the probe is taught on.
        shows: (P,) bool: which of them are of the class; both kinds must be there.
        asked: (Q, D) features that it is asked about.
        expected: (Q,) bool, likewise.

    Returns:
        A scalar: 1, every pixel is told; 0 or less: no better than knowing nothing.
    """
    mean, spread = taught.mean(dim=0), taught.std(dim=0).clamp(min=LEAST_SPREAD)
    # In double: the normal equations square what the features' scale differs by.
    inputs, questions = (_with_one((x - mean) / spread).double() for x in (taught, asked))
    weights, counted = _balanced(shows), _balanced(expected)
    weighted = inputs * weights[:, None]
    ridge = RIDGE * torch.eye(inputs.shape[1]).to(inputs)
    target, truth = (2 * marks.double() - 1 for marks in (shows, expected))
    row = torch.linalg.solve(weighted.mT @ inputs + ridge, weighted.mT @ target)
    missed = counted @ (questions @ row - truth).square()
    return (1 - missed).to(taught.dtype)  # the truth's own variance is 1


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)


def _balanced(marks: Tensor) -> Tensor:
    """Return weights (P,) float64 of sum 1, half of it the class's."""
    own = marks.double()
    return own / own.sum() / 2 + (1 - own) / (1 - own).sum() / 2
