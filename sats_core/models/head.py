"""The all-MLP head of SegFormer (Xie et al., NeurIPS 2021, section 3.2)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

SMALL = ("pvt_v2_b0", "pvt_v2_b1", "mit_b0", "mit_b1")
SMALL_WIDTH, LARGE_WIDTH = 256, 768
"""Width of the head on B0 and B1 and on every other backbone, as in SegFormer."""
DROPOUT = 0.1


def head_width(backbone: str) -> int:
    """Return the width of the head on a backbone, by its name."""
    return SMALL_WIDTH if backbone in SMALL else LARGE_WIDTH


class AllMlpHead(nn.Module):
    """Bring every stage to one width and to the finest grid, then mix them per pixel.

    SegFormer projects each stage, upsamples, concatenates, and mixes by one 1x1 convolution. All
    of that is linear, and 1x1 convolution and bilinear upsampling commute: so a stage's projection
    and its part of the mixing are multiplied into one small matrix, applied on the stage's own
    grid, then upsampled and summed. The same function of the same weights, several times cheaper.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.project = nn.ModuleList(nn.Linear(stage, width) for stage in channels)
        self.mix = nn.Linear(width * len(channels), width, bias=False)
        self.finish = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Dropout2d(DROPOUT)
        )

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Return features (B, width, H / 4, W / 4) of the stages' outputs."""
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
