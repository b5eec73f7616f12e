"""Matching gradients: the terms by hand, and a net whose gradients hide nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sats_core.evaluation.gradient_matching import (
    Effort,
    Gradients,
    cosine_distance,
    search,
    total_variation,
)
from sats_core.evaluation.similarity import psnr

SIDE = 16


def test_the_distance_is_one_less_the_cosine_of_long_vectors() -> None:
    chance = torch.Generator().manual_seed(0)
    ours = [torch.randn(3, 4, generator=chance), torch.randn(5, generator=chance)]
    theirs = [torch.randn(3, 4, generator=chance), torch.randn(5, generator=chance)]
    a, b = (np.concatenate([g.numpy().ravel() for g in side]) for side in (ours, theirs))
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    assert cosine_distance(ours, theirs).item() == pytest.approx(1 - cosine, abs=1e-6)
    assert cosine_distance(ours, [3 * g for g in ours]).item() == pytest.approx(0, abs=1e-6)
    assert cosine_distance(ours, [-g for g in ours]).item() == pytest.approx(2, abs=1e-6)


def test_total_variation_is_the_mean_step_to_the_next_pixel() -> None:
    pixels = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    down, across = [], []
    for channel in pixels[0].tolist():
        for row in range(4):
            for column in range(5):
                if row:
                    down.append(abs(channel[row][column] - channel[row - 1][column]))
                if column:
                    across.append(abs(channel[row][column] - channel[row][column - 1]))
    expected = sum(down) / len(down) + sum(across) / len(across)
    assert total_variation(pixels).item() == pytest.approx(expected, abs=1e-6)


def linear_net(pixels: Tensor, kept: Tensor) -> Gradients:
    """Gradients of a linear classifier of a picture, each input channel kept by so much."""
    torch.manual_seed(0)
    net = nn.Linear(3 * SIDE * SIDE, 5)
    loss = F.cross_entropy(net((pixels * kept).flatten(1)), torch.tensor([2]))
    return torch.autograd.grad(loss, list(net.parameters()), create_graph=True)


def a_picture() -> Tensor:
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


@pytest.fixture(scope="module")
def start() -> Tensor:
    return torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


def test_what_a_linear_net_learned_from_is_found(start: Tensor) -> None:
    truth, whole = a_picture(), torch.ones(1, 3, 1, 1)
    seen = [g.detach() for g in linear_net(truth, whole)]
    found = search(lambda p: linear_net(p, whole), seen, [start], Effort(200, 0.03, 1e-3))
    assert found.distances[-1] < found.distances[0] / 100
    flat = truth.mean(dim=(2, 3), keepdim=True).expand_as(truth)
    assert psnr(truth, found.unknowns[0]) > psnr(truth, flat) + 10
    assert psnr(truth, found.unknowns[0]) > psnr(truth, start) + 15
    assert found.unknowns[0].min() >= 0
    assert found.unknowns[0].max() <= 1


def test_a_second_unknown_is_looked_for_along_with_the_pixels(start: Tensor) -> None:
    """One channel never reaches the net: whoever does not ask is left with a larger distance."""
    kept = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    effort = Effort(60, 0.03, 0.0)

    def light(pixels: Tensor, mask: Tensor) -> Gradients:
        return linear_net(0.5 + 0.5 * pixels, mask)  # no pixel is black, so that none is a mask

    seen = [g.detach() for g in light(a_picture(), kept)]
    whole = torch.ones_like(kept)
    ignored = search(lambda p: light(p, whole), seen, [start], effort)
    guessed = search(light, seen, [start, torch.full_like(kept, 0.9)], effort)
    assert guessed.distances[-1] < ignored.distances[-1] / 2
    assert (guessed.unknowns[1] > 0.5).flatten().tolist() == [True, False, True]


def test_the_same_start_gives_the_same(start: Tensor) -> None:
    whole = torch.ones(1, 3, 1, 1)
    seen = [g.detach() for g in linear_net(a_picture(), whole)]
    twice = [search(lambda p: linear_net(p, whole), seen, [start], Effort(5)) for _ in range(2)]
    assert twice[0].distances == twice[1].distances
    assert torch.equal(twice[0].unknowns[0], twice[1].unknowns[0])
