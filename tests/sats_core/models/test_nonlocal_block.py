"""Both blocks are what their maps say, and the scaled one never forms its map."""

import pytest
import torch
from torch import Tensor

from sats_core.models.nonlocal_block import NonLocal, ScaledNonLocal, SoftmaxNonLocal
from tests.sats_core.models.largest import watched

WIDTH, HEADS = 16, 2


def block(kind: type[NonLocal]) -> NonLocal:
    torch.manual_seed(0)
    made = kind(WIDTH, heads=HEADS).double()
    torch.nn.init.normal_(made.back.weight)
    torch.nn.init.normal_(made.back.bias)
    return made


def features(height: int = 3, width: int = 5) -> Tensor:
    make = torch.Generator().manual_seed(1)
    return torch.randn(2, height, width, WIDTH, generator=make, dtype=torch.float64)


def by_the_map(made: NonLocal, pixels: Tensor, softmax: bool) -> Tensor:
    """Picture by picture, head by head, the map of all positions on all."""
    inner = WIDTH // 2
    out = torch.empty_like(pixels)
    for image, picture in enumerate(pixels):
        flat = picture.reshape(-1, WIDTH)
        weights = made.project.weight.split(inner), made.project.bias.split(inner)
        query, key, value = (flat @ w.T + b for w, b in zip(*weights, strict=True))
        parts = []
        for rows in (slice(0, 4), slice(4, 8)):
            products = query[:, rows] @ key[:, rows].T
            a = torch.softmax(products / 2, dim=1) if softmax else products / len(flat)
            parts.append(a @ value[:, rows])
        back = torch.cat(parts, dim=1) @ made.back.weight.T + made.back.bias
        out[image] = (flat + back).view(picture.shape)
    return out


@pytest.mark.parametrize(("kind", "softmax"), [(ScaledNonLocal, False), (SoftmaxNonLocal, True)])
class TestBlocks:
    def test_value_and_gradient_are_the_maps(self, kind: type[NonLocal], softmax: bool) -> None:
        made, pixels = block(kind), features().requires_grad_()
        found, expected = made(pixels), by_the_map(made, pixels, softmax)
        torch.testing.assert_close(found, expected)
        weight = torch.randn_like(found)
        wanted = [pixels, *made.parameters()]
        grads = torch.autograd.grad((found * weight).sum(), wanted)
        for grad, right in zip(
            grads, torch.autograd.grad((expected * weight).sum(), wanted), strict=True
        ):
            torch.testing.assert_close(grad, right)

    def test_what_is_observed_is_what_ran(self, kind: type[NonLocal], softmax: bool) -> None:
        made, pixels = block(kind), features()
        found, attention = made.observe(pixels)
        assert torch.equal(found, made(pixels))
        assert attention.grid == (3, 5)
        assert attention.query.shape == attention.key.shape == (2, HEADS, 15, 4)
        assert attention.scale == pytest.approx(0.5 if softmax else 1 / 15)

    def test_a_new_block_changes_nothing(self, kind: type[NonLocal], softmax: bool) -> None:
        del softmax
        pixels = features()
        assert torch.equal(kind(WIDTH).double()(pixels), pixels)

    def test_heads_that_do_not_fit_are_refused(self, kind: type[NonLocal], softmax: bool) -> None:
        del softmax
        with pytest.raises(ValueError, match="6 channels cannot be divided among 4"):
            kind(6)


def test_the_scaled_block_never_holds_a_map() -> None:
    made, pixels = block(ScaledNonLocal), features(20, 30).requires_grad_()
    with watched() as largest:
        made(pixels).sum().backward()
    assert largest.entries < 600 * 600, "a map of one head of one picture"
    with watched() as largest:
        by_the_map(made, pixels, softmax=False)
    assert largest.entries == 600 * 600
