"""Linear centred kernel alignment of two models' features (Kornblith et al., ICML 2019)."""

import torch
from torch import Tensor

AT_ONCE = 4
"""Pixels for each channel that wait to be summed together: the products are larger than few."""


class LinearCka:
    """Sums from which the linear CKA of two sets of features is read; few features are kept."""

    def __init__(self, channels: int) -> None:
        """Start at nothing for features of `channels` values a pixel."""
        self.count = 0
        self._sums = torch.zeros(2, channels, dtype=torch.float64)
        self._products = torch.zeros(3, channels, channels, dtype=torch.float64)
        self._waiting: list[Tensor] = []
        self._waiting_pixels = 0
        self._at_once = AT_ONCE * channels

    def add(self, first: Tensor, second: Tensor) -> None:
        """Count pixels, (n, channels) of either model."""
        if not len(first):
            return
        self.count += len(first)
        self._waiting.append(torch.stack([first, second]).cpu())
        self._waiting_pixels += len(first)
        if self._waiting_pixels >= self._at_once:
            self._sum_up()

    def _sum_up(self) -> None:
        if not self._waiting:
            return
        x, y = torch.cat(self._waiting, dim=1).double()
        self._waiting, self._waiting_pixels = [], 0
        self._sums += torch.stack([x.sum(0), y.sum(0)])
        self._products += torch.stack([x.mT @ x, y.mT @ y, x.mT @ y])

    def value(self) -> float | None:
        """Return CKA, 0..1: |Y'X|^2 / (|X'X| |Y'Y|) of the centred features.

        None where there are fewer than two pixels, or features that never differ.
        """
        if self.count < 2:
            return None
        self._sum_up()
        x, y = self._sums
        means = torch.stack([torch.outer(x, x), torch.outer(y, y), torch.outer(x, y)]) / self.count
        same, other, across = (self._products - means).flatten(1).norm(dim=1).tolist()
        # Rounding leaves a trace where all features are the same.
        floor = 1e-12 * self._products[:2].abs().max().item()
        if same <= floor or other <= floor:
            return None
        return float(min(1.0, across**2 / (same * other)))
