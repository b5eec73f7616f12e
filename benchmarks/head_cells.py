"""Heads whose operations are looked for: the all-MLP head with an operation on each of its edges.

EDAS (Hong, Ahn and Kim, arXiv 1912.01237) relaxes one edge of the network at a time: there the
candidates are summed, weighted by a softmax, and every other edge keeps the one that leads, so that
nothing changes when the others are left out in the end. Its abstract is what this was built from:
how edges are drawn, the warm-up and the rates are ours.
"""

import random
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sats_core.models.backbone import STAGES
from sats_core.models.head import AllMlpHead, Seen

EDGES = STAGES + 1
"""One behind each stage's part of the mix, one behind their sum."""
SHARPNESS = 50.0
"""What the softmax sees is so many times what is learned: Adam moves every value by its rate."""


class Step(nn.Module):
    """Adds a convolution of what is positive to its input, (B, D, h, w)."""

    def __init__(self, width: int, kernel: int, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        reach = dilation * (kernel - 1) // 2
        self.mix = nn.Conv2d(width, width, kernel, padding=reach, dilation=dilation, groups=groups)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        added: Tensor = self.mix(features.relu())
        return features + added


class Context(nn.Module):
    """Adds what the whole picture has in common to each of its pixels, (B, D, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        whole: Tensor = self.mix(features.relu().mean(dim=(2, 3)))
        return features + whole[:, :, None, None]


CANDIDATES: dict[str, Callable[[int], nn.Module]] = {
    "identity": lambda _width: nn.Identity(),
    "1x1": lambda width: Step(width, 1),
    "depth-wise 3x3": lambda width: Step(width, 3, groups=width),
    "dilated 3x3": lambda width: Step(width, 3, dilation=2, groups=width),
    "context": Context,
}
"""By name, from the width. With the identity on every edge the head is the all-MLP head."""
NAMES = tuple(CANDIDATES)
ALL_MLP = (NAMES[0],) * EDGES


class CellHead(AllMlpHead):
    """The all-MLP head with an operation on each edge."""

    def __init__(self, channels: Sequence[int], width: int, choices: Sequence[str]) -> None:
        """Build a head whose edges have these operations, stages first."""
        super().__init__(channels, width)
        self.edges = nn.ModuleList(CANDIDATES[name](width) for name in choices)

    def observe(self, stages: Sequence[Tensor]) -> Seen:
        """See `AllMlpHead.observe`."""
        parts = self.mix.weight.split(self.width, dim=1)
        total: Tensor | None = None
        for number, (stage, project, part) in enumerate(
            zip(stages, self.project, parts, strict=True)
        ):
            pixels = F.linear(stage.permute(0, 2, 3, 1), part @ project.weight, part @ project.bias)
            found = self.on_edge(number, pixels.permute(0, 3, 1, 2))
            if total is None:
                total = found
            else:
                total = total + F.interpolate(
                    found, size=total.shape[2:], mode="bilinear", align_corners=False
                )
        return Seen(self.on_edge(STAGES, self.finish(total)))

    def on_edge(self, number: int, features: Tensor) -> Tensor:
        """Return what an edge makes of its features."""
        found: Tensor = self.edges[number](features)
        return found


class SearchHead(CellHead):
    """A head that learns its operations along with its weights.

    Each training pass draws one edge, whose candidates are summed, weighted by a softmax; every
    other edge has one candidate: the one that leads, and during the warm-up any.

    Attributes:
        strengths: (edges, candidates), learned.
        passes: training passes so far.
    """

    def __init__(self, channels: Sequence[int], width: int, warm_up: int, seed: int) -> None:
        """Build a head of all candidates.

        Args:
            channels: of each stage.
            width: of the head.
            warm_up: training passes in which edges have any candidate and no strength is learned.
            seed: of what is drawn.
        """
        super().__init__(channels, width, ALL_MLP)
        self.edges = nn.ModuleList(
            nn.ModuleList(CANDIDATES[name](width) for name in NAMES) for _ in range(EDGES)
        )
        self.strengths = nn.Parameter(torch.zeros(EDGES, len(NAMES)))
        self.passes = 0
        self._warm_up = warm_up
        self._chance = random.Random(seed)
        self._relaxed: int | None = None
        self._taken = [0] * EDGES

    def observe(self, stages: Sequence[Tensor]) -> Seen:
        """See `CellHead.observe`."""
        self._draw()
        return super().observe(stages)

    def on_edge(self, number: int, features: Tensor) -> Tensor:
        """See `CellHead.on_edge`."""
        candidates = cast(nn.ModuleList, self.edges[number])
        if number != self._relaxed:
            alone: Tensor = candidates[self._taken[number]](features)
            return alone
        shares = (SHARPNESS * self.strengths[number]).softmax(dim=0)
        made = torch.stack([candidate(features) for candidate in candidates])
        return (shares[:, None, None, None, None] * made).sum(dim=0)

    def choices(self) -> tuple[str, ...]:
        """Return the operation that leads on each edge."""
        return tuple(NAMES[best] for best in self.strengths.argmax(dim=1).tolist())

    def _draw(self) -> None:
        """Choose which edge is relaxed, and what the others have."""
        self._relaxed = None
        self._taken = self.strengths.argmax(dim=1).tolist()
        if not self.training:
            return
        self.passes += 1
        if self.passes <= self._warm_up:
            self._taken = [self._chance.randrange(len(NAMES)) for _ in range(EDGES)]
        else:
            self._relaxed = self._chance.randrange(EDGES)
