"""Similarity of pictures against loops over every window."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sats_core.evaluation.similarity import MOST_PSNR, psnr, ssim


def pictures(height: int, width: int) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(height * width)
    one = torch.rand(3, height, width, generator=chance)
    return one, (one + 0.2 * torch.randn(3, height, width, generator=chance)).clamp(0, 1)


def by_loops(picture: Tensor, other: Tensor, side: int) -> float:
    """SSIM as it is defined: each window by itself."""
    x, y = picture.double().numpy(), other.double().numpy()
    reach = side // 2
    weights = np.array(
        [
            [math.exp(-(r * r + c * c) / (2 * 1.5**2)) for c in range(-reach, reach + 1)]
            for r in range(-reach, reach + 1)
        ]
    )
    weights /= weights.sum()
    found = []
    for channel in range(x.shape[0]):
        for top in range(x.shape[1] - side + 1):
            for left in range(x.shape[2] - side + 1):
                place = (channel, slice(top, top + side), slice(left, left + side))
                a, b = x[place], y[place]
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a = (weights * (a - mean_a) ** 2).sum()
                var_b = (weights * (b - mean_b) ** 2).sum()
                both = (weights * (a - mean_a) * (b - mean_b)).sum()
                found.append(
                    (2 * mean_a * mean_b + 0.0001)
                    * (2 * both + 0.0009)
                    / ((mean_a**2 + mean_b**2 + 0.0001) * (var_a + var_b + 0.0009))
                )
    return float(np.mean(found))


@pytest.mark.parametrize(("height", "width", "side"), [(14, 12, 11), (8, 13, 7), (5, 5, 5)])
def test_structural_similarity_is_the_definition(height: int, width: int, side: int) -> None:
    one, other = pictures(height, width)
    assert ssim(one, other) == pytest.approx(by_loops(one, other, side), abs=1e-9)
    assert ssim(one, other) == pytest.approx(ssim(other, one))


def test_structural_similarity_has_the_ends_it_should() -> None:
    one, _ = pictures(32, 32)
    assert ssim(one, one) == pytest.approx(1)
    assert ssim(one, 1 - one) < -0.5
    assert abs(ssim(one, pictures(32, 33)[0][:, :, :32])) < 0.1


def test_noise_against_signal_is_of_the_mean_square() -> None:
    one, other = pictures(6, 7)
    pairs = zip(one.flatten().tolist(), other.flatten().tolist(), strict=True)
    squares = [(a - b) ** 2 for a, b in pairs]
    mean = sum(squares) / len(squares)
    assert psnr(one, other) == pytest.approx(10 * math.log10(1 / mean))
    assert psnr(one, one) == MOST_PSNR
    assert psnr(torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.1)) == pytest.approx(20, abs=1e-5)
