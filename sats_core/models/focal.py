"""Spatial attention that leaves out what covers and surrounds the objects."""

from torch import Tensor, nn

FOCI = 2
"""Complementary foci: what covers objects, and what is behind them."""


class FocalAttention(nn.Module):
    """Every position is divided among the objects and several complementary foci.

    After Cho et al., Localization using Multi-Focal Spatial Attention for Masked Face Recognition
    (FG 2023 workshops, arXiv 2305.01905), of which we had the abstract: complementary attention
    learns to look at two regions, what covers a face and what is behind it, and the standard
    attention is left with the rest, which alone goes on. How the maps are made is ours: one
    convolution, and a softmax over standard attention and foci, so that they are complementary by
    construction and the foci's union can be of more than one kind. What tells them from the
    objects is `sats_core.losses.complementary_attention`; labels do not say which of the foci a
    pixel belongs to, so nothing keeps these two apart.
    """

    def __init__(self, width: int, foci: int = FOCI) -> None:
        """Build the attention for features of `width` channels."""
        super().__init__()
        self.look = nn.Conv2d(width, 1 + foci, 3, padding=1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D, H, W) times their standard attention, and all attention's logits
        (B, 1 + foci, H, W), the standard one's first."""
        logits: Tensor = self.look(features)
        return features * logits.softmax(dim=1)[:, :1], logits
