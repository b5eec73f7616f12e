"""A classifier that grows by steps."""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from sats_core.classes import BACKGROUND


def balanced_start(weight: Tensor, bias: Tensor, new: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a start for new rows under which the old model's outputs stay as they were.

    The background's probability is shared evenly among background and the new classes (MiB,
    section 3.3): their rows take its weight, and their bias, and its own, becomes
    bias - log(new + 1).

    Args:
        weight: (C_old, D, 1, 1) with background in row 0.
        bias: (C_old,).
        new: number of new rows N.

    Returns:
        New weight (N, D, 1, 1), new bias (N,), and the background's new bias (1,).
    """
    background = bias[:1] - math.log(new + 1)
    return weight[:1].repeat(new, 1, 1, 1), background.repeat(new), background


class GrowingClassifier(nn.Module):
    """One 1x1 convolution per step, their outputs side by side in channel order.

    Attributes:
        steps: the convolutions; the first one holds background and the base classes.
    """

    def __init__(self, features: int, sizes: Sequence[int]) -> None:
        """Build a classifier of `sizes` channels per step, background counted to the first."""
        super().__init__()
        self.features = features
        self.steps = nn.ModuleList(nn.Conv2d(features, size, 1) for size in sizes)

    @property
    def channels(self) -> int:
        """Number of output channels, background included."""
        return sum(step.out_channels for step in self.convolutions())

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, C, H, W) of features (B, D, H, W)."""
        return torch.cat([step(features) for step in self.steps], dim=1)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Return logits (P, C) of single pixels' features (P, D), without a gradient."""
        found: Tensor = self(features[:, :, None, None])
        return found[:, :, 0, 0]

    @torch.no_grad()
    def grow(self, new: int) -> None:
        """Add `new` rows with the balanced start."""
        first = self.convolutions()[0]
        weight, bias, background = balanced_start(first.weight, _bias(first), new)
        step = nn.Conv2d(self.features, new, 1, device=weight.device, dtype=weight.dtype)
        step.weight.copy_(weight)
        _bias(step).copy_(bias)
        _bias(first)[:1] = background
        self.steps.append(step)

    @torch.no_grad()
    def start_rows(self, old: "GrowingClassifier", shares: Tensor, known: Tensor) -> None:
        """Start the last step's rows as means of an older classifier's rows.

        However many rows a step brings, together they start with the probability that one would
        have: the background gives half of its own away, as to one new class, and each of N rows
        gets a bias lower by log N. A row that is not known shares the background's other half.

        Args:
            old: the classifier before the step, of C_old channels.
            shares: (N, C_old), of each old row in each new one; a row sums to 1.
            known: (N,) bool: which rows to start; the others stay as they are.
        """
        first, last = self.convolutions()[0], self.convolutions()[-1]
        weight = torch.cat([step.weight for step in old.convolutions()])[:, :, 0, 0]
        bias = torch.cat([_bias(step) for step in old.convolutions()])
        mixed = shares.to(weight)
        known = known.to(weight.device)
        last.weight[known] = (mixed @ weight)[known][:, :, None, None]
        halved = bias[0] - math.log(2)
        _bias(first)[0] = halved
        _bias(last)[:] = torch.where(known, mixed @ bias, halved) - math.log(len(known))

    @torch.no_grad()
    def put_rows(self, old: "GrowingClassifier", weight: Tensor, bias: Tensor) -> None:
        """Put learned rows into the last step and set the background's row anew.

        Args:
            old: the classifier before the step.
            weight: (1 + N, D): what is added to the old background's row, then the new rows.
            bias: (1 + N,), likewise.
        """
        first, last, before = self.convolutions()[0], self.convolutions()[-1], old.convolutions()[0]
        first.weight[0] = before.weight[0] + weight[0].to(before.weight)[:, None, None]
        _bias(first)[0] = _bias(before)[0] + bias[0].to(before.weight)
        last.weight.copy_(weight[1:, :, None, None])
        _bias(last).copy_(bias[1:])

    @torch.no_grad()
    def move_rows(self, weight: Tensor, bias: Tensor) -> None:
        """Add weight (C, D) and bias (C,) to the rows of all steps, in channel order."""
        sizes = [step.out_channels for step in self.convolutions()]
        for step, more, lift in zip(
            self.convolutions(), weight.split(sizes), bias.split(sizes), strict=True
        ):
            step.weight += more[:, :, None, None].to(step.weight)
            _bias(step).add_(lift.to(step.weight))

    @torch.no_grad()
    def move_background(self, weight: Tensor, bias: Tensor) -> None:
        """Add weight (D,) and bias () to the background's row; the others stay to the last bit."""
        first = self.convolutions()[0]
        first.weight[0] += weight[:, None, None].to(first.weight)
        _bias(first)[0] += bias.to(first.weight)

    def without(self, channels: Collection[int]) -> "GrowingClassifier":
        """Return a classifier of copies of all rows but some; a step left with none is left out.

        Raises:
            ValueError: the background is among them.
        """
        if BACKGROUND in channels:
            raise ValueError("the background's row stays")
        kept, first = [], 0
        for step in self.convolutions():
            last = first + step.out_channels
            rows = [row - first for row in range(first, last) if row not in channels]
            kept += [(step, rows)] if rows else []
            first = last
        less = GrowingClassifier(self.features, [len(rows) for _, rows in kept])
        with torch.no_grad():
            for (old, rows), new in zip(kept, less.convolutions(), strict=True):
                new.to(old.weight)
                new.weight.copy_(old.weight[rows])
                _bias(new).copy_(_bias(old)[rows])
        return less

    def widened(self, more: int) -> "GrowingClassifier":
        """Return a classifier of copies of all rows that reads `more` features behind those that it
        reads, and minds none of them yet."""
        steps = self.convolutions()
        wide = GrowingClassifier(self.features + more, [step.out_channels for step in steps])
        with torch.no_grad():
            for old, new in zip(steps, wide.convolutions(), strict=True):
                new.to(old.weight)
                new.weight.zero_()
                new.weight[:, : self.features] = old.weight
                _bias(new).copy_(_bias(old))
        return wide

    def convolutions(self) -> list[nn.Conv2d]:
        """Return the convolutions, the base step's first."""
        return [step for step in self.steps if isinstance(step, nn.Conv2d)]


def _bias(step: nn.Conv2d) -> Tensor:
    if step.bias is None:
        raise RuntimeError("the classifier's convolutions have biases")
    return step.bias
