"""The whole model: backbone, head, growing classifier."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sats_core.data.transforms import View
from sats_core.losses import QueryKey
from sats_core.models.backbone import Backbone
from sats_core.models.classifier import GrowingClassifier
from sats_core.models.dropout import BatchDropout
from sats_core.models.head import Seen, head_width
from sats_core.models.heads import HEADS
from sats_core.version_config import ALL_MLP, HeadName

DROPOUT = 0.1
"""Share of the features that the classifier does not see in training (SegFormer)."""


class Output(NamedTuple):
    """One forward pass with everything that losses look at.

    Attributes:
        logits: (B, C, H / 4, W / 4).
        features: (B, D, H / 4, W / 4), the decoder's output, before dropout: two passes over one
            picture give the same.
        stages: output of each of the backbone's stages, (B, C_s, H / 2^(s+2), W / 2^(s+2)).
        attention: query and key of the last block of each stage, and behind them of the head's
            block where that attends by softmax.
        scaled: query and key of the head's block where its attention is scaled only.
    """

    logits: Tensor
    features: Tensor
    stages: list[Tensor]
    attention: list[QueryKey]
    scaled: tuple[QueryKey, ...] = ()


class Segmenter(nn.Module):
    """Backbone -> head -> a classifier that grows.

    Attributes:
        view: how whole pictures are shown to the model; None: the longer side as long as is asked
            for where they are.
    """

    def __init__(
        self,
        backbone: Backbone,
        sizes: Sequence[int],
        width: int | None = None,
        view: View | None = None,
        head: HeadName = ALL_MLP,
    ) -> None:
        """Build a model.

        Args:
            backbone: the encoder.
            sizes: channels per step, background counted to the first.
            width: of the head; by default the backbone's in the paper.
            view: see `Segmenter`.
            head: one of `HEADS`.
        """
        super().__init__()
        self.backbone = backbone
        self.view = view
        self.head = HEADS[head](backbone.channels, width or head_width(backbone.name))
        self.dropout = BatchDropout(DROPOUT, self.head.width)
        self.classifier = GrowingClassifier(self.head.width, sizes)

    def train_step(self, updates_norms: bool) -> None:
        """Set training mode; batch norm's statistics move, or stay what they are.

        A later step than the first sees other pictures, on which running statistics would drift
        away from what the old classes were learned with, weights unchanged or not.

        Args:
            updates_norms: whether they move, as where the head starts from random weights.
        """
        self.train()
        if not updates_norms:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def reinitialise_head(self, seed: int) -> None:
        """Start the head from random weights, where and as wide as it is; the processor's other
        random numbers are left as they are."""
        device = next(self.head.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = HEADS[self.head.name](self.backbone.channels, self.head.width).to(device)

    @property
    def can_widen(self) -> bool:
        """Whether the head has no block behind it, which would mix more features with its own."""
        return self.head.name == ALL_MLP

    def widen(self, weight: Tensor, bias: Tensor) -> None:
        """Let the head give more features, relu(weight s + bias), that no row minds yet.

        Args:
            weight: (K, S) of what all stages of the backbone give, side by side.
            bias: (K,).

        Raises:
            ValueError: it cannot be widened.
        """
        if not self.can_widen:
            raise ValueError(f"a head of kind {self.head.name} cannot be widened")
        self.head = self.head.widened(weight, bias)
        self.dropout = BatchDropout(DROPOUT, self.head.width).train(self.training)
        self.classifier = self.classifier.widened(len(bias))

    def view_at(self, size: int) -> View:
        """Return how whole pictures are shown: the model's own view, or `size` at the longest."""
        return self.view or View(longest=size)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (B, C, H / 4, W / 4) of normalised pictures (B, 3, H, W)."""
        logits: Tensor = self.classifier(self.dropout(self.head(self.backbone(pictures))))
        return logits

    def stages(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits as `forward` does, and what each of the backbone's stages gives,
        (B, C_s, h_s, w_s)."""
        stages = self.backbone(pictures)
        return self.classifier(self.dropout(self.head(stages))), stages

    def look(self, pictures: Tensor) -> tuple[Tensor, Seen]:
        """Return logits as `forward` does, and what losses look at of the head."""
        seen = self.head.observe(self.backbone(pictures))
        return self.classifier(self.dropout(seen.features)), seen

    def observe(self, pictures: Tensor) -> Output:
        """Return everything that losses look at of one forward pass."""
        with self.backbone.tap.open():
            stages = self.backbone(pictures)
            grids = [(stage.shape[2], stage.shape[3]) for stage in stages]
            attention = self.backbone.tap.read(grids)
        seen = self.head.observe(stages)
        logits = self.classifier(self.dropout(seen.features))
        attention += seen.softmax
        return Output(logits, seen.features, stages, attention, seen.scaled)
