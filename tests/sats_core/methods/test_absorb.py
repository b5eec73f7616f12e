"""The background's row, solved anew once other rows are gone."""

import pytest
import torch
from torch import Tensor

from sats_core.method_settings import FitSettings
from sats_core.methods.absorb import absorbed, absorbing

CLASSES, WIDTH, PIXELS = 4, 6, 600
GONE = (1, 3)


@pytest.fixture
def features() -> Tensor:
    return torch.randn(PIXELS, WIDTH, generator=torch.Generator().manual_seed(0)) * 2 + 1


@pytest.fixture
def logits(features: Tensor) -> Tensor:
    rows = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1))
    return features @ rows.T


def solve(
    features: Tensor, logits: Tensor, labels: Tensor, **settings: float
) -> tuple[Tensor, Tensor]:
    """Return weight (D,) and bias () that are added to the background's row."""
    chosen = FitSettings.model_validate({"tolerance": 1e-7, **settings})
    weights = torch.full((PIXELS,), 1 / PIXELS)
    rows = absorbed(features, logits, labels, weights, GONE, chosen, lambda: None)
    assert rows.unsolved(chosen) is None
    return rows.weight[0], rows.bias[0]


def left(logits: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the logits (P, 2) of background and the class that stays."""
    stays = logits[:, [0, 2]].double()
    stays[:, 0] += features.double() @ weight + bias
    return stays


def test_probabilities_of_what_goes_are_the_backgrounds(logits: Tensor) -> None:
    found, scores = absorbing(logits, GONE), logits.softmax(dim=1)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(PIXELS))
    torch.testing.assert_close(found[:, 1], scores[:, 2])
    torch.testing.assert_close(found[:, 0], 1 - scores[:, 2])


def test_the_loss_is_flat_at_the_solution(features: Tensor, logits: Tensor) -> None:
    none = torch.zeros(PIXELS, dtype=torch.long)
    weight, bias = (
        part.clone().requires_grad_() for part in solve(features, logits, none, decay=0)
    )
    scores = left(logits, features, weight, bias).log_softmax(dim=1)
    target = absorbing(logits.double(), GONE)
    loss = -(target * scores).sum(dim=1).mean()
    loss.backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert weight.grad.abs().max() < 1e-5
    assert bias.grad.abs() < 1e-5


def test_no_other_start_is_better(features: Tensor, logits: Tensor) -> None:
    none = torch.zeros(PIXELS, dtype=torch.long)
    weight, bias = solve(features, logits, none, decay=0)
    target = absorbing(logits.double(), GONE)

    def loss(weight: Tensor, bias: Tensor) -> float:
        scores = left(logits, features, weight, bias).log_softmax(dim=1)
        return -(target * scores).sum(dim=1).mean().item()

    best = loss(weight, bias)
    chance = torch.Generator().manual_seed(3)
    for _ in range(20):
        aside = weight + 0.1 * torch.randn(WIDTH, generator=chance).double()
        assert loss(aside, bias) > best
    assert loss(torch.zeros(WIDTH).double(), torch.zeros(()).double()) > best


def test_what_is_labelled_as_gone_is_background_whatever_the_model_says(
    features: Tensor, logits: Tensor
) -> None:
    marked = logits[:, 2] > logits.median(dim=1).values  # the model calls many of them class 2
    labels = torch.where(marked, GONE[0], 0)
    none = torch.zeros(PIXELS, dtype=torch.long)
    told, untold = (
        left(logits, features, *solve(features, logits, each)).softmax(dim=1)[marked, 0].mean()
        for each in (labels, none)
    )
    assert told > untold


def test_it_can_be_asked_to_stop(features: Tensor, logits: Tensor) -> None:
    class StopError(Exception):
        pass

    def check() -> None:
        raise StopError

    weights = torch.full((PIXELS,), 1 / PIXELS)
    none = torch.zeros(PIXELS, dtype=torch.long)
    with pytest.raises(StopError):
        absorbed(features, logits, none, weights, GONE, FitSettings(), check)
