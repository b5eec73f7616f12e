"""What a probe finds again, against least squares that is written out."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sats_core.losses import relearnable
from sats_core.losses.relearning import RIDGE

WIDTH = 5


def pixels(seed: int, apart: float, count: int = 400) -> tuple[Tensor, Tensor]:
    """Features of two kinds whose means lie `apart` deviations from each other; one is rare."""
    chance = torch.Generator().manual_seed(seed)
    shows = torch.rand(count, generator=chance) < 0.2
    features = torch.randn(count, WIDTH, generator=chance)
    features[:, 2] += apart * shows
    return features, shows


def explicit(taught: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor]) -> float:
    (x, y), (q, z) = (
        (features.double().numpy(), marks.numpy()) for features, marks in (taught, asked)
    )
    mean, spread = x.mean(axis=0), x.std(axis=0, ddof=1)
    x, q = (np.column_stack([(each - mean) / spread, np.ones(len(each))]) for each in (x, q))
    weights = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    # A ridge is least squares with a row more for each weight.
    tall = np.vstack([x * np.sqrt(weights)[:, None], np.sqrt(RIDGE) * np.eye(WIDTH + 1)])
    target = np.concatenate([np.where(y, 1, -1) * np.sqrt(weights), np.zeros(WIDTH + 1)])
    row = np.linalg.lstsq(tall, target, rcond=None)[0]
    missed = (q @ row - np.where(z, 1, -1)) ** 2
    return float(1 - (missed[z].mean() + missed[~z].mean()) / 2)


@pytest.mark.parametrize("apart", [0.0, 1.0, 4.0])
def test_is_what_a_ridge_regression_explains(apart: float) -> None:
    taught, asked = pixels(0, apart), pixels(1, apart)
    found = relearnable(*taught, *asked).item()
    assert found == pytest.approx(explicit(taught, asked), abs=1e-5)


def test_what_cannot_be_told_is_nothing_and_what_can_is_much() -> None:
    assert relearnable(*pixels(0, 0), *pixels(1, 0)).item() < 0.05
    assert relearnable(*pixels(0, 6), *pixels(1, 6)).item() > 0.8


def test_descending_on_the_features_makes_them_one() -> None:
    (first, shows), (second, expected) = pixels(0, 3), pixels(1, 3)
    free = [each.clone().requires_grad_() for each in (first, second)]
    optimizer = torch.optim.Adam(free, lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        relearnable(free[0], shows, free[1], expected).backward()
        optimizer.step()
    left = relearnable(free[0], shows, free[1], expected).item()
    assert left < relearnable(first, shows, second, expected).item() / 3
