"""The model as it is exported: the same function, in the form that runs fastest on a CPU."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sats_core.models import Segmenter
from sats_core.models.head import AllMlpHead


class ServingGraph(nn.Module):
    """What the service runs: logits, and at the input's size the best class and its score.

    Head and classifier keep channels last, where each 1x1 convolution is one matrix product and
    nothing is transposed; batch norm is part of their weights; stages are enlarged by two small
    matrices, which ONNX Runtime does in a fraction of the time of its `Resize`.
    """

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, C, H/4, W/4), rounded up, labels (B, H, W) uint8 and scores (B, H, W).

        Args:
            pixel_values: (B, 3, H, W), normalised; H and W 32 or more.
        """
        mixed = _mixed(self.model.head, self.model.backbone(pixel_values))
        logits = self._classified(self.model.head.refined(mixed))
        size = pixel_values.shape[-2:]
        full = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        scores, labels = full.softmax(dim=1).max(dim=1)
        return logits, labels.to(torch.uint8), scores

    def _classified(self, features: Tensor) -> Tensor:
        steps = self.model.classifier.convolutions()
        weight = torch.cat([step.weight[:, :, 0, 0] for step in steps])
        bias = torch.cat([step.bias for step in steps if step.bias is not None])
        return F.linear(features, weight, bias).permute(0, 3, 1, 2)


def _mixed(head: AllMlpHead, stages: Sequence[Tensor]) -> Tensor:
    """Return the stages' mix (B, H / 4, W / 4, D), as `AllMlpHead.merged` makes it."""
    norm = head.finish[0]
    if not isinstance(norm, nn.BatchNorm2d):
        raise TypeError("the head's mixing ends in batch norm")
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    bias = norm.bias - scale * mean
    total: Tensor | None = None
    parts = head.mix.weight.split(head.width, dim=1)
    for stage, project, part in zip(stages, head.project, parts, strict=True):
        mixing = scale[:, None] * part
        # Enlarging keeps constants: all biases can be added once.
        bias = bias + mixing @ project.bias
        pixels = F.linear(stage.permute(0, 2, 3, 1), mixing @ project.weight)
        total = pixels if total is None else total + _enlarged(pixels, total)
    if total is None:
        raise ValueError("a backbone has stages")
    return F.relu(total + bias)


def _enlarged(pixels: Tensor, like: Tensor) -> Tensor:
    """Return (B, h, w, D) brought to (B, H, W, D) bilinearly, as `interpolate` does."""
    batch, height, width, channels = pixels.shape
    rows, columns = _between(height, like.shape[1]), _between(width, like.shape[2])
    tall = rows @ pixels.reshape(batch, height, width * channels)
    return columns @ tall.reshape(batch, like.shape[1], width, channels)


def _between(points: int, pixels: int) -> Tensor:
    """Return (pixels, points): how much of each point each pixel takes, along one side."""
    each = torch.eye(points)[None, None]
    size = (pixels, points)
    return F.interpolate(each, size=size, mode="bilinear", align_corners=False)[0, 0]
