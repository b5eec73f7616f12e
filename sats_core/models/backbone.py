"""timm backbones with stages and softmax self-attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sats_core.compat import timm
from sats_core.errors import ModelError
from sats_core.models.attention import AttentionTap, stage_attentions
from sats_core.segformer.variants import DEPTHS

STAGES = 4
MIT_EPS = 1e-5
"""Of every norm of Hugging Face's SegFormer, whatever a checkpoint's `layer_norm_eps` says: its
code never reads that key."""


Rgb = tuple[float, float, float]


class Backbone(nn.Module):
    """A timm backbone cut before its classifier.

    Attributes:
        name: timm's name, or `mit_b0` ... `mit_b5`.
        channels: of each stage's output.
        hub_id: where pretrained weights are; None where timm knows of none.
        mean, std: of the pictures it expects, per RGB channel, for values 0..1.
        pixel_mean, pixel_std: the same as tensors (3, 1, 1).
        tap: reads the last self-attention of each stage.
    """

    mean: Rgb
    std: Rgb
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, name: str) -> None:
        """Build the architecture with random weights.

        Raises:
            ModelError: timm has no such backbone, or it lacks stages or readable attention.
        """
        super().__init__()
        self.name = name
        net = _net(name)
        self.net = net
        stages = [info for info in getattr(net, "feature_info", []) if "reduction" in info]
        if len(stages) != STAGES or not hasattr(net, "stages"):
            raise ModelError(
                f"backbone {name!r}: needs {STAGES} stages of falling resolution, "
                f"has {len(stages) if hasattr(self.net, 'stages') else 'none'}"
            )
        self.channels = tuple(int(stage["num_chs"]) for stage in stages)
        self.expect(tuple(net.pretrained_cfg["mean"]), tuple(net.pretrained_cfg["std"]))
        self.hub_id: str | None = net.pretrained_cfg.get("hf_hub_id")
        if name in DEPTHS:
            self.hub_id = f"nvidia/{name.replace('_', '-')}"
        self.tap = AttentionTap(stage_attentions(net, name))

    def expect(self, mean: Rgb, std: Rgb) -> None:
        """Set the mean and deviation of the pictures that it expects, for values 0..1."""
        self.mean, self.std = mean, std
        # Buffers lie where the model does: a copy from the host at every step would wait for it.
        device = next(self.parameters()).device
        for name, values in (("pixel_mean", mean), ("pixel_std", std)):
            pixel = torch.tensor(values, device=device)[:, None, None]
            self.register_buffer(name, pixel, persistent=False)

    @contextmanager
    def recomputing(self, wanted: bool) -> Iterator[None]:
        """Keep, for the backward pass, each block's input alone and compute the rest of it again.

        Args:
            wanted: whether to; a third more time, and a fraction of the memory.
        """
        self.net.set_grad_checkpointing(wanted)
        try:
            yield
        finally:
            self.net.set_grad_checkpointing(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the output of each stage, (B, C_s, H / 2^(s+2), W / 2^(s+2)), rounded up.

        Args:
            pictures: (B, 3, H, W), normalised; H and W 32 or more.
        """
        stages: list[Tensor] = self.net.forward_intermediates(pictures, intermediates_only=True)
        return stages


def _net(name: str) -> Any:
    """Return timm's network.

    timm has no MiT (SegFormer's own encoder). Its PVTv2 with four-fold MLPs and another epsilon is
    the same function, only its tensors are named otherwise: `sats_core.segformer.names`.
    """
    if name in DEPTHS:
        norm = partial(nn.LayerNorm, eps=MIT_EPS)
        twin = name.replace("mit_", "pvt_v2_")
        return timm.create_model(twin, num_classes=0, mlp_ratios=(4, 4, 4, 4), norm_layer=norm)
    if name not in timm.list_models(name):
        raise ModelError(f"timm has no backbone named {name!r}")
    return timm.create_model(name, num_classes=0)


def seeded_backbone(name: str, seed: int) -> Backbone:
    """Build a backbone whose random weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(name)
