"""The encoders of SegFormer, MiT-B0 to MiT-B5 (Xie et al., NeurIPS 2021, table 6); torch-free."""

from collections.abc import Mapping

Shape = tuple[int, ...]

DEPTHS: Mapping[str, Shape] = {
    "mit_b0": (2, 2, 2, 2),
    "mit_b1": (2, 2, 2, 2),
    "mit_b2": (3, 4, 6, 3),
    "mit_b3": (3, 4, 18, 3),
    "mit_b4": (3, 8, 27, 3),
    "mit_b5": (3, 6, 40, 3),
}
"""Blocks of each stage."""
SMALL: Shape = (32, 64, 160, 256)
LARGE: Shape = (64, 128, 320, 512)
SHARED: Mapping[str, int | str | bool | Shape] = {
    "num_channels": 3,
    "num_encoder_blocks": 4,
    "num_attention_heads": (1, 2, 5, 8),
    "sr_ratios": (8, 4, 2, 1),
    "patch_sizes": (7, 3, 3, 3),
    "strides": (4, 2, 2, 2),
    "mlp_ratios": (4, 4, 4, 4),
    "hidden_act": "gelu",
    "reshape_last_stage": True,
}
"""What all of them have in common, by the keys of a Hugging Face config; its defaults too."""


def hidden_sizes(name: str) -> Shape:
    """Return the channels of each stage of `mit_b0` ... `mit_b5`."""
    return SMALL if name == "mit_b0" else LARGE


def variant_of(depths: Shape, sizes: Shape) -> str | None:
    """Return which encoder has these depths and channels; None: none of the six."""
    for name, known in DEPTHS.items():
        if (depths, sizes) == (known, hidden_sizes(name)):
            return name
    return None
