"""Gradient collision against gradients and second derivatives that are written out."""

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from sats_core.losses import gradient_collision


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    chance = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(5, 3, generator=chance, dtype=torch.float64),
            torch.randint(0, 2, (5,), generator=chance),
        )
        for _ in range(count)
    ]


def explicit(net: nn.Sequential, every: list[tuple[Tensor, Tensor]]) -> float:
    """The definition, by gradients of one backward pass each."""
    found = []
    for inputs, labels in every:
        net.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    pairs = [(a @ b / (a.norm() * b.norm())).item() for a, b in combinations(found, 2)]
    net.zero_grad()
    return sum(pairs) / len(pairs)


def collision(net: nn.Sequential, every: list[tuple[Tensor, Tensor]]) -> Tensor:
    losses = [nn.functional.cross_entropy(net(inputs), labels) for inputs, labels in every]
    return gradient_collision(losses, list(net.parameters()))


@pytest.mark.parametrize("count", [2, 3])
def test_is_the_mean_cosine_of_all_pairs(net: nn.Sequential, count: int) -> None:
    assert collision(net, batches(count)).item() == pytest.approx(explicit(net, batches(count)))


def test_its_gradient_is_that_of_finite_differences(net: nn.Sequential) -> None:
    every = batches(2)
    collision(net, every).backward()
    slopes_of = [weight.grad for weight in net.parameters()]
    for weight, slope in zip(net.parameters(), slopes_of, strict=True):
        assert slope is not None
        slopes, flat = slope.clone().flatten(), weight.data.view(-1)
        for place in range(len(flat)):
            was = flat[place].item()
            sides = []
            for aside in (1e-5, -1e-5):
                flat[place] = was + aside
                sides.append(explicit(net, every))
            flat[place] = was
            assert slopes[place].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-6)


def test_descending_pulls_the_gradients_apart(net: nn.Sequential) -> None:
    every = batches(2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = explicit(net, every)
    for _ in range(20):
        optimizer.zero_grad()
        collision(net, every).backward()
        optimizer.step()
    assert explicit(net, every) < before - 0.1


def test_a_weight_that_nothing_depends_on_counts_nothing(net: nn.Sequential) -> None:
    losses = [nn.functional.cross_entropy(net(x), y) for x, y in batches(2)]
    idle = torch.ones(3, dtype=torch.float64, requires_grad=True)
    found = gradient_collision(losses, [*net.parameters(), idle])
    assert found.item() == pytest.approx(explicit(net, batches(2)))


def test_a_gradient_that_vanishes_collides_with_nothing() -> None:
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    squares = weight.square()
    found = gradient_collision([(squares * 0).sum(), squares.sum()], [weight])
    found.backward()
    assert found.item() == 0
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_one_batch_is_refused(net: nn.Sequential) -> None:
    with pytest.raises(ValueError, match="one mini-batch"):
        collision(net, batches(1))
