import torch
from torch import Tensor

from sats_core.losses import truthful_cross_entropy, unbiased_distillation
from sats_core.methods.realign import realigned
from sats_core.methods.sampling import PixelSample
from sats_core.settings import FrozenSettings

OLD, NEW, WIDTH, PIXELS = 4, 2, 6, 600


def problem() -> tuple[PixelSample, Tensor, Tensor]:
    """Pixels that are not to be separated, the logits of the rows as they are, the old model's."""
    make = torch.Generator().manual_seed(0)
    features = torch.randn(PIXELS, WIDTH, generator=make) * 3 + 1
    labels = torch.randint(0, OLD + NEW, (PIXELS,), generator=make)
    rows = torch.randn(OLD + NEW, WIDTH, generator=make) / 4
    sample = PixelSample(features, labels, torch.rand(PIXELS, generator=make), torch.ones(6))
    old = features @ torch.randn(OLD, WIDTH, generator=make).T / 4
    return sample, features @ rows.T, old


def test_the_loss_is_flat_at_the_solution() -> None:
    sample, logits, old = problem()
    settings = FrozenSettings(decay=0, tolerance=1e-7, distillation_weight=0.7, iterations=500)
    rows = realigned(sample, logits, old, settings, lambda: None)
    change = rows.weight.requires_grad_()
    learned = (logits.double() + sample.features.double() @ change.T + rows.bias)[None].mT
    weights = sample.weights.double() / sample.weights.double().sum()
    cross_entropy = truthful_cross_entropy(learned, sample.kinds[None], OLD)[0] @ weights
    known = weights * (sample.kinds < OLD)
    distillation = unbiased_distillation(learned, old.double().T[None])[0] @ known
    (cross_entropy + 0.7 * OLD * distillation).backward()
    assert change.grad is not None
    assert change.grad.abs().max() < 1e-5


def test_a_large_decay_leaves_the_rows_as_they_are() -> None:
    sample, logits, old = problem()
    rows = realigned(sample, logits, old, FrozenSettings(decay=1e9), lambda: None)
    assert rows.weight.abs().max() < 1e-6
