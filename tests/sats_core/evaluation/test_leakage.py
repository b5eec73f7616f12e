"""Gradients of a step, the mask that they give away, and what is rebuilt from them."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.errors import NothingLearnedError
from sats_core.evaluation.gradient_matching import Effort, cosine_distance
from sats_core.evaluation.leakage import (
    drawn_mask,
    painted,
    read_mask,
    reconstruct,
    step_gradients,
)
from sats_core.evaluation.similarity import psnr
from sats_core.leakage_report import Attack
from sats_core.methods import Finetune
from sats_core.models import Segmenter, seeded_backbone
from tests.fixtures.backbones import TINY

SIDE = 32


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    made = Segmenter(seeded_backbone(TINY, 0), [3, 2], width=32)
    for step in made.classifier.steps:
        torch.nn.init.normal_(step.bias)
    return made.eval()


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


@pytest.fixture(scope="module")
def labels() -> Tensor:
    made = torch.zeros(1, SIDE, SIDE, dtype=torch.int64)
    made[:, :10], made[:, 12:20, 5:25], made[:, 30:] = 3, 1, 255
    return made


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_gradients_are_those_of_a_step_of_training(
    model: Segmenter, pixels: Tensor, labels: Tensor
) -> None:
    torch.manual_seed(5)
    mask = F.dropout2d(torch.ones(1, 32, 1, 1), model.dropout.share)
    ours = step_gradients(model, pixels, labels, mask)
    backbone = model.backbone
    model.train_step(updates_norms=False)
    try:
        torch.manual_seed(5)
        model.dropout.draw(1, slice(0, 1), torch.device("cpu"))
        normalised = (pixels - backbone.pixel_mean) / backbone.pixel_std
        terms = Finetune(model, None, None).loss_terms(normalised, labels)
        terms["cross_entropy"].backward()
        theirs = [weight.grad for weight in model.parameters()]
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()
    assert (mask == 0).any()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_gradients_can_be_differentiated_by_pixels_and_mask(pixels: Tensor, labels: Tensor) -> None:
    torch.manual_seed(0)
    exact = Segmenter(seeded_backbone(TINY, 0), [3, 2], width=8).double().eval()
    pixels = pixels.double().requires_grad_()
    mask = torch.ones(1, 8, 1, 1, dtype=torch.float64, requires_grad=True)
    seen = [torch.randn_like(w) for w in exact.parameters()]
    ways = torch.randn_like(pixels), torch.randn_like(mask)

    def along(step: float) -> Tensor:
        moved = [one + step * way for one, way in zip((pixels, mask), ways, strict=True)]
        return cosine_distance(step_gradients(exact, moved[0], labels, moved[1]), seen)

    slopes = torch.autograd.grad(along(0.0), (pixels, mask))
    slope = sum((s * w).sum() for s, w in zip(slopes, ways, strict=True))
    reach = 1e-5  # logits are in single precision
    measured = (along(reach) - along(-reach)) / (2 * reach)
    assert float(slope) == pytest.approx(float(measured.detach()), rel=5e-3, abs=1e-6)


def test_a_mask_drops_the_share_that_training_drops(model: Segmenter) -> None:
    masks = torch.cat([drawn_mask(model, chance(seed)) for seed in range(200)])
    assert (masks == 0).float().mean().item() == pytest.approx(model.dropout.share, abs=0.02)
    assert masks.max().item() == pytest.approx(1 / (1 - model.dropout.share))


def test_gradients_give_the_mask_away(model: Segmenter, pixels: Tensor, labels: Tensor) -> None:
    mask = drawn_mask(model, chance(2))
    seen = step_gradients(model, pixels, labels, mask)
    read = read_mask(model, seen)
    assert (mask == 0).any()
    assert (read[mask == 0] == 0).all()
    for one, other in zip(seen, step_gradients(model, pixels, labels, read), strict=True):
        assert torch.equal(one, other), "what was read is as good as what was drawn"


@pytest.mark.parametrize("attack", Attack)
def test_ten_iterations_bring_every_attack_closer(
    model: Segmenter, pixels: Tensor, labels: Tensor, attack: Attack
) -> None:
    before = [weight.clone() for weight in model.parameters()]
    found = reconstruct(model, pixels, labels, attack, Effort(10), seed=3)
    assert found.distances[-1] < found.distances[0]
    noise = torch.rand(pixels.shape, generator=chance(9))
    assert psnr(pixels, found.pixels) > psnr(pixels, noise)
    assert found.pixels.shape == pixels.shape
    if attack in (Attack.BARE, Attack.IGNORED):
        assert found.mask_agrees is None
    else:
        assert found.mask_agrees is not None
        assert 0.5 < found.mask_agrees <= 1
    for weight, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight, old)
        assert weight.grad is None


def test_the_same_seed_rebuilds_the_same(model: Segmenter, pixels: Tensor, labels: Tensor) -> None:
    runs = [
        reconstruct(model, pixels, labels, Attack.IGNORED, Effort(3), seed) for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0].pixels, runs[1].pixels)
    assert not torch.equal(runs[0].pixels, runs[2].pixels)


def test_what_labels_give_away_is_the_mean_colour_of_each_region(
    pixels: Tensor, labels: Tensor
) -> None:
    made = painted(pixels, labels)
    for channel in range(3):
        for value in (0, 1, 3, 255):
            region = [
                pixels[0, channel, row, column].item()
                for row in range(SIDE)
                for column in range(SIDE)
                if labels[0, row, column] == value
            ]
            there = made[0, channel][labels[0] == value]
            torch.testing.assert_close(there, torch.full_like(there, sum(region) / len(region)))


@pytest.mark.parametrize("attack", [Attack.BARE, Attack.READ])
def test_a_step_that_learns_nothing_is_refused(
    model: Segmenter, pixels: Tensor, labels: Tensor, attack: Attack
) -> None:
    ignored = torch.full_like(labels, 255)
    with pytest.raises(NothingLearnedError, match="all zero"):
        reconstruct(model, pixels, ignored, attack, Effort(1), 0)
