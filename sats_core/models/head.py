"""The all-MLP head of SegFormer (Xie et al., NeurIPS 2021, section 3.2)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sats_core.losses import QueryKey
from sats_core.version_config import ALL_MLP, HeadName

SMALL = ("pvt_v2_b0", "pvt_v2_b1", "mit_b0", "mit_b1")
SMALL_WIDTH, LARGE_WIDTH = 256, 768
"""Width of the head on B0 and B1 and on every other backbone, as in SegFormer."""


def head_width(backbone: str) -> int:
    """Return the width of the head on a backbone, by its name."""
    return SMALL_WIDTH if backbone in SMALL else LARGE_WIDTH


class Seen(NamedTuple):
    """What losses look at of a head.

    Attributes:
        features: (B, D, H / 4, W / 4).
        softmax: query and key of what attends by softmax in it.
        scaled: the same of what attends by A = query key^T * scale.
        foci: logits (B, 1 + foci, H / 4, W / 4) of spatial attention, the standard one's first.
    """

    features: Tensor
    softmax: tuple[QueryKey, ...] = ()
    scaled: tuple[QueryKey, ...] = ()
    foci: Tensor | None = None


class AllMlpHead(nn.Module):
    """Bring every stage to one width and to the finest grid, then mix them per pixel.

    SegFormer projects each stage, upsamples, concatenates, and mixes by one 1x1 convolution. All
    of that is linear, and 1x1 convolution and bilinear upsampling commute: so a stage's projection
    and its part of the mixing are multiplied into one small matrix, applied on the stage's own
    grid, then upsampled and summed. The same function of the same weights, several times cheaper.

    Other heads (`sats_core.models.heads`) are this one with something behind it.

    Attributes:
        name: by which a version says what it is built of.
        width: channels of the features.
    """

    name: ClassVar[HeadName] = ALL_MLP

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.project = nn.ModuleList(nn.Linear(stage, width) for stage in channels)
        self.mix = nn.Linear(width * len(channels), width, bias=False)
        self.finish = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True))

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Return features (B, width, H / 4, W / 4) of the stages' outputs: those of `observe`."""
        return self.observe(stages).features

    def observe(self, stages: Sequence[Tensor]) -> Seen:
        """Return the features with everything else that losses look at.

        What a head computes stands here alone: training, scoring and replay take one or the other.
        """
        return Seen(self.merged(stages))

    def refined(self, pixels: Tensor) -> Tensor:
        """Return the features that the classifier sees, of what `merged` gives; both with channels
        last, (B, H / 4, W / 4, width). Here they are the same."""
        return pixels

    def terms(self, seen: Seen, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the loss terms that the head has of itself where all classes are labelled; here
        none.

        Args:
            seen: what `observe` gave.
            labels: (B, H, W) int64, 255 ignored.
        """
        del seen, labels
        return {}

    def widened(self, weight: Tensor, bias: Tensor) -> "AllMlpHead":
        """Return a head of the same features and more behind them.

        What is more reads the stages alone: relu(weight s + bias), s all stages' outputs, enlarged
        to the finest grid, side by side. It stands in the same layers, with zeros where old and new
        do not mix; batch norm leaves it as it is.

        Args:
            weight: (K, S), S the channels of all stages together.
            bias: (K,).
        """
        old, was = self.width, self.state_dict()
        channels = [was[f"project.{stage}.weight"].shape[1] for stage in range(len(self.project))]
        wider = AllMlpHead(channels, old + len(bias)).to(self.mix.weight).train(self.training)
        now = wider.state_dict()  # shares memory with the layers
        now["finish.0.running_var"].fill_(1 - nn.BatchNorm2d(1).eps)
        for name in (name for name in was if name.startswith("finish.")):
            to = now[name][:old] if was[name].ndim else now[name]
            to.copy_(was[name])
        now["mix.weight"].zero_()
        parts = was["mix.weight"].split(old, dim=1)
        wide = now["mix.weight"].split(wider.width, dim=1)
        for stage, reads in enumerate(weight.split(channels, dim=1)):
            wide[stage][:old, :old] = parts[stage]
            wide[stage][old:, old:] = torch.eye(len(bias))
            layer = f"project.{stage}."
            now[layer + "weight"].copy_(torch.cat([was[layer + "weight"], reads]))
            # The parts are summed, so one of them brings it.
            lift = bias if stage == 0 else torch.zeros_like(bias)
            now[layer + "bias"].copy_(torch.cat([was[layer + "bias"], lift]))
        return wider

    def merged(self, stages: Sequence[Tensor]) -> Tensor:
        """Return the stages' mix, (B, width, H / 4, W / 4)."""
        parts = self.mix.weight.split(self.width, dim=1)
        mixed = []
        for stage, project, part in zip(stages, self.project, parts, strict=True):
            pixels = F.linear(stage.permute(0, 2, 3, 1), part @ project.weight, part @ project.bias)
            mixed.append(pixels.permute(0, 3, 1, 2))
        total = mixed[0]
        for coarse in mixed[1:]:
            total = total + F.interpolate(
                coarse, size=total.shape[2:], mode="bilinear", align_corners=False
            )
        features: Tensor = self.finish(total)
        return features
