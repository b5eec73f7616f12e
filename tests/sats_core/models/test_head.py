import torch
from torch.nn import functional as F

from sats_core.models.head import AllMlpHead


def test_is_the_head_of_segformer() -> None:
    """Project, upsample, concatenate, mix: the published order, with the same weights."""
    torch.manual_seed(0)
    head = AllMlpHead((3, 5, 7, 9), 16).eval().double()
    stages = [
        torch.randn(2, channels, 16 >> stage, 24 >> stage, dtype=torch.float64)
        for stage, channels in enumerate((3, 5, 7, 9))
    ]
    projected = [
        F.conv2d(stage, project.weight[:, :, None, None], project.bias)
        for project, stage in zip(head.project, stages, strict=True)
    ]
    upsampled = [
        F.interpolate(x, size=(16, 24), mode="bilinear", align_corners=False) for x in projected
    ]
    expected = head.finish(F.conv2d(torch.cat(upsampled, dim=1), head.mix.weight[:, :, None, None]))

    torch.testing.assert_close(head(stages), expected)
