"""How alike two pictures are: peak signal-to-noise ratio, and structural similarity."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_PSNR = 100.0
"""Decibels of pictures that are the same, and of those that nobody could tell apart."""
WINDOW, SIGMA = 11, 1.5
"""Side of SSIM's window and deviation of its weights, pixels."""
C1, C2 = 0.01**2, 0.03**2
"""What keeps SSIM's quotients from being of noise, for values 0..1."""


def psnr(picture: Tensor, other: Tensor) -> float:
    """Return the peak signal-to-noise ratio of two pictures with values 0..1, decibels.

    Args:
        picture, other: of the same shape.

    Returns:
        -10 log10 of the mean squared difference; 100 at most.
    """
    error = float((picture.double() - other.double()).square().mean())
    return -10 * math.log10(max(error, 10 ** (-MOST_PSNR / 10)))


def ssim(picture: Tensor, other: Tensor) -> float:
    """Return the structural similarity of two pictures with values 0..1 (Wang et al., IEEE TIP
    2004): 1 where they are the same, about 0 where they have nothing in common.

    The mean over channels and over every place of a window of 11 x 11 pixels with Gaussian weights
    that lies inside the picture; a smaller picture has a window as large as an odd number allows.

    Args:
        picture, other: (3, H, W).
    """
    window = _window(min(WINDOW, *picture.shape[1:]))
    one, two = picture.double()[:, None], other.double()[:, None]

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(values, window)

    mean_one, mean_two = mean(one), mean(two)
    variances = mean(one**2) - mean_one**2 + mean(two**2) - mean_two**2
    covariance = mean(one * two) - mean_one * mean_two
    light = (2 * mean_one * mean_two + C1) / (mean_one**2 + mean_two**2 + C1)
    return float((light * (2 * covariance + C2) / (variances + C2)).mean())


def _window(most: int) -> Tensor:
    """Return Gaussian weights (1, 1, n, n) that sum to 1, n odd and `most` at most."""
    reach = (most - 1) // 2
    away = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-(away**2) / (2 * SIGMA**2))
    window = weights[:, None] * weights
    return (window / window.sum())[None, None]
