import torch
from torch.nn import functional as F

from sats_core.losses import distillation


def test_is_least_where_old_and_new_agree() -> None:
    old = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    new = torch.cat([old, torch.randn(2, 2, 4, 4, dtype=torch.float64)], dim=1).requires_grad_()
    loss = distillation(new, old)
    entropy = -(old.softmax(1) * old.log_softmax(1)).sum(1) / 3
    torch.testing.assert_close(loss, entropy)
    (grad,) = torch.autograd.grad(loss.sum(), new)
    assert grad.abs().max() < 1e-12


def test_new_channels_do_not_matter() -> None:
    old, new = torch.randn(1, 3, 2, 2), torch.randn(1, 5, 2, 2)
    moved = new.clone()
    moved[:, 3:] += 10
    torch.testing.assert_close(distillation(new, old), distillation(moved, old))


def test_is_the_cross_entropy_with_a_soft_target() -> None:
    old, new = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    expected = F.cross_entropy(new, old.softmax(1), reduction="none") / 4
    torch.testing.assert_close(distillation(new, old), expected)
