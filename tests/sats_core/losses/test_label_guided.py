import torch

from sats_core.losses import label_guided_distillation, unbiased_distillation

OLD = 3


def one(values: list[float]) -> torch.Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def labelled(value: int) -> torch.Tensor:
    return torch.full((1, 1, 1), value)


def test_old_background_moves_to_the_labelled_new_class() -> None:
    old = one([50.0, 0.0, 0.0])
    says_new, says_background = one([0.0, 0, 0, 50, 0]), one([50.0, 0, 0, 0, 0])
    assert label_guided_distillation(says_new, old, labelled(3)).item() < 1e-6
    assert label_guided_distillation(says_background, old, labelled(3)).item() > 10
    assert label_guided_distillation(says_background, old, labelled(0)).item() < 1e-6
    assert label_guided_distillation(says_new, old, labelled(0)).item() > 10


def test_old_foreground_stays_where_it_was_whatever_the_label() -> None:
    old, new = one([0.0, 50.0, 0.0]), one([0.0, 50, 0, 0, 0])
    for value in (0, 1, 3, 4, 255):
        assert label_guided_distillation(new, old, labelled(value)).item() < 1e-6


def test_is_least_at_the_padded_target_with_the_gradient_of_a_cross_entropy() -> None:
    old = torch.randn(2, OLD, 4, 4, dtype=torch.float64)
    new = torch.randn(2, OLD + 2, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(OLD, OLD + 2, (2, 4, 4))
    (grad,) = torch.autograd.grad(label_guided_distillation(new, old, labels).sum(), new)
    target = torch.zeros_like(new)
    target[:, 1:OLD] = old.softmax(1)[:, 1:]
    target.scatter_(1, labels[:, None], old.softmax(1)[:, :1])
    torch.testing.assert_close(grad, (new.softmax(1) - target).detach() / OLD)


def test_it_asks_more_than_the_unbiased_one() -> None:
    # That one is content with any split of the background among background and new classes.
    old, new = torch.randn(1, OLD, 4, 4), torch.randn(1, OLD + 2, 4, 4)
    labels = torch.randint(0, OLD + 2, (1, 4, 4))
    guided = label_guided_distillation(new, old, labels)
    assert (guided >= unbiased_distillation(new, old) - 1e-6).all()
