from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sats_core.errors import DivergedError
from sats_core.losses import truthful_cross_entropy, unbiased_distillation
from sats_core.method_settings import FrozenSettings
from sats_core.methods.fits import Rows
from sats_core.methods.rows import kinds_of, solve_rows
from sats_core.methods.sampling import PixelSample

OLD, NEW, WIDTH, PIXELS = 4, 2, 6, 400


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def features() -> Tensor:
    return torch.randn(PIXELS, WIDTH, generator=torch.Generator().manual_seed(0)) * 3 + 1


@pytest.fixture
def old() -> Tensor:
    """The old model's rows (OLD, WIDTH)."""
    return torch.randn(OLD, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    """Background, a replayed old class (2) and two new ones (4, 5): not to be separated."""
    drawn = torch.randint(0, 4, (PIXELS,), generator=torch.Generator().manual_seed(2))
    return torch.tensor([0, 2, 4, 5])[drawn]


def solved(features: Tensor, labels: Tensor, old: Tensor, **settings: float) -> Rows:
    sample = PixelSample(features, labels, torch.ones(len(features)), torch.ones(OLD + NEW))
    chosen = FrozenSettings.model_validate({"tolerance": 1e-7, **settings})
    return solve_rows(sample, features @ old.T, NEW, chosen, lambda: None)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_the_full_loss_is_flat_at_the_solution(
    features: Tensor, labels: Tensor, old: Tensor, residual: bool, weight: float
) -> None:
    # Old classes were summed to one for the solver: with all of them the loss must be flat too.
    rows = solved(features, labels, old, residual=residual, distillation_weight=weight, decay=0)
    weights, biases = rows.weight.requires_grad_(), rows.bias.requires_grad_()
    learned = features.double() @ weights.T + biases
    before = (features @ old.T).double()
    logits = torch.cat([before[:, :1] + learned[:, :1], before[:, 1:], learned[:, 1:]], dim=1)
    cross_entropy = truthful_cross_entropy(logits, labels, OLD).mean()
    distillation = OLD * unbiased_distillation(logits, before).mean()
    (cross_entropy + weight * distillation).backward()
    learns = slice(0 if residual else 1, None)
    for gradient in (weights.grad, biases.grad):
        assert gradient is not None
        assert gradient[learns].abs().max().item() < 1e-4
    assert residual or not rows.weight[0].any()


def test_the_number_of_threads_does_not_matter(
    features: Tensor, labels: Tensor, old: Tensor, threads: None
) -> None:
    several = [features.repeat(20, 1), labels.repeat(20)]
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        found.append(solved(*several, old))
    torch.testing.assert_close(found[0].weight, found[1].weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0].bias, found[1].bias, atol=1e-5, rtol=1e-4)


def test_a_replayed_old_class_is_no_new_one(features: Tensor, labels: Tensor, old: Tensor) -> None:
    new = features[:, 0] > 2
    truth = torch.where(new, 4, 0)
    replayed = torch.where(features[:, 1] > 4, 2, truth)

    def share(rows: Rows) -> float:
        learned = features[new & (replayed == 2)].double() @ rows.weight[1] + rows.bias[1]
        return learned.mean().item()

    assert share(solved(features, replayed, old)) < share(solved(features, truth, old)) - 1


def test_balance_raises_the_rare_class(features: Tensor, labels: Tensor, old: Tensor) -> None:
    rare = torch.where(torch.arange(PIXELS) % 40 == 0, 5, labels.clamp(max=4))
    plain, balanced = (solved(features, rare, old, class_balance=b) for b in (0, 0.5))
    assert balanced.bias[2] > plain.bias[2] + 0.5


def test_features_that_are_not_finite_are_said(
    features: Tensor, labels: Tensor, old: Tensor
) -> None:
    features[3, 2] = float("nan")
    with pytest.raises(DivergedError, match="of the rows"):
        solved(features, labels, old)


def test_a_gradient_that_is_not_finite_is_said_from_inside_the_search(features: Tensor) -> None:
    # A model that knows nothing but background: the other old classes together are log 0.
    labels = torch.arange(PIXELS) % 2
    sample = PixelSample(features, labels, torch.ones(PIXELS), torch.ones(2))
    with pytest.raises(DivergedError, match="of the rows"):
        solve_rows(sample, torch.zeros(PIXELS, 1), 1, FrozenSettings(), lambda: None)


def test_how_far_the_search_came_is_said(features: Tensor, labels: Tensor, old: Tensor) -> None:
    whole, cut = solved(features, labels, old), solved(features, labels, old, iterations=2)
    assert whole.gradient <= 1e-7
    assert whole.iterations > 2
    assert cut.gradient > 1e-4
    assert cut.iterations == 2


def test_kinds() -> None:
    labels = torch.tensor([[0, 1, 3], [4, 5, 255]])
    assert kinds_of(labels, OLD).tolist() == [[0, 1, 1], [2, 3, 255]]


@pytest.mark.parametrize("several", [3, 10])
def test_what_new_classes_take_does_not_grow_with_their_number(old: Tensor, several: int) -> None:
    """The same pixels as one new class, and dealt out at random to several."""
    make = torch.Generator().manual_seed(3)
    features = torch.randn(3000, WIDTH, generator=make)
    shown = torch.rand(3000, generator=make) < 0.3
    features[shown, 0] += 2
    taken = {}
    for new in (1, several):
        dealt = OLD + torch.randint(0, new, (3000,), generator=make)
        labels = torch.where(shown, dealt, 0)
        sample = PixelSample(features, labels, torch.ones(3000), torch.ones(OLD + new))
        rows = solve_rows(sample, features @ old.T, new, FrozenSettings(), lambda: None)
        before = (features @ old.T).double()
        learned = features.double() @ rows.weight.T + rows.bias
        logits = torch.cat([before[:, :1] + learned[:, :1], before[:, 1:], learned[:, 1:]], dim=1)
        taken[new] = logits.softmax(1)[~shown, OLD:].sum(1).mean().item()
    assert taken[several] == pytest.approx(taken[1], rel=0.1)
