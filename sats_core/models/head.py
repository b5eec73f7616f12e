"""The all-MLP head of SegFormer (Xie et al., NeurIPS 2021, section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = {"pvt_v2_b0": 256, "pvt_v2_b1": 256}
"""Width of the head per backbone as in SegFormer (B0 and B1: 256); every other one has 768."""
LARGE_WIDTH = 768
DROPOUT = 0.1


class AllMlpHead(nn.Module):
    """Bring every stage to one width and to the finest grid, then mix them per pixel."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.project = nn.ModuleList(nn.Conv2d(stage, width, 1) for stage in channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(width * len(channels), width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(DROPOUT),
        )

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Return features (B, width, H / 4, W / 4) of the stages' outputs."""
        grid = stages[0].shape[2:]
        # The deepest stage goes first, as in the authors' code.
        mixed = [
            F.interpolate(project(stage), size=grid, mode="bilinear", align_corners=False)
            for project, stage in zip(reversed(self.project), reversed(stages), strict=True)
        ]
        features: Tensor = self.fuse(torch.cat(mixed, dim=1))
        return features
