import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.losses import truthful_cross_entropy, unbiased_distillation
from sats_core.method_settings import FrozenSettings
from sats_core.methods.features import FeatureMemory
from sats_core.methods.realign import realigned

OLD, NEW, WIDTH, PIXELS = 4, 2, 6, 600


def problem() -> tuple[FeatureMemory, Tensor, Tensor]:
    """Pixels that are not to be separated, the logits of the rows as they are, the old model's."""
    make = torch.Generator().manual_seed(0)
    features = torch.randn(PIXELS, WIDTH, generator=make) * 3 + 1
    labels = torch.randint(0, OLD + NEW, (PIXELS,), generator=make)
    hides = torch.where(torch.rand(PIXELS, generator=make) < 0.5, 1, OLD)
    rows = torch.randn(OLD + NEW, WIDTH, generator=make) / 4
    pixels = FeatureMemory(features, labels, hides, torch.rand(PIXELS, generator=make))
    old = features @ torch.randn(OLD, WIDTH, generator=make).T / 4
    return pixels, features @ rows.T, old


def test_the_loss_is_flat_at_the_solution() -> None:
    pixels, logits, old = problem()
    settings = FrozenSettings(decay=0, tolerance=1e-7, distillation_weight=0.7, iterations=500)
    rows = realigned(pixels, logits, old, settings, lambda: None)
    change = rows.weight.requires_grad_()
    learned = (logits.double() + pixels.features.double() @ change.T + rows.bias).T[None]
    weights = pixels.weights.double() / pixels.weights.double().sum()
    # Background that is background, and background that may hide any class known before.
    plain = F.cross_entropy(learned, pixels.labels[None], reduction="none")[0]
    marginal = truthful_cross_entropy(learned, pixels.labels[None], OLD)[0]
    cross_entropy = torch.where(pixels.hides == 1, plain, marginal) @ weights
    known = weights * (pixels.labels < OLD)
    distillation = unbiased_distillation(learned, old.double().T[None])[0] @ known
    (cross_entropy + 0.7 * OLD * distillation).backward()
    assert change.grad is not None
    assert change.grad.abs().max() < 1e-5


def test_a_large_decay_leaves_the_rows_as_they_are() -> None:
    pixels, logits, old = problem()
    rows = realigned(pixels, logits, old, FrozenSettings(decay=1e9), lambda: None)
    assert rows.weight.abs().max() < 1e-6
