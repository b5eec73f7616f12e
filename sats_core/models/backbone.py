"""timm backbones with stages and softmax self-attention."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sats_core.compat import timm
from sats_core.errors import ModelError
from sats_core.models.attention import AttentionTap, stage_attentions

SCRATCH = "scratch"
STAGES = 4


class Backbone(nn.Module):
    """A timm backbone cut before its classifier.

    Attributes:
        name: timm's name.
        channels: of each stage's output.
        hub_id: where pretrained weights are; None where timm knows of none.
        mean, std: of the pictures it expects, per RGB channel, for values 0..1.
        pixel_mean, pixel_std: the same as tensors (3, 1, 1).
        tap: reads the last self-attention of each stage.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, name: str) -> None:
        """Build the architecture with random weights.

        Raises:
            ModelError: timm has no such backbone, or it lacks stages or readable attention.
        """
        super().__init__()
        if name not in timm.list_models(name):
            raise ModelError(f"timm has no backbone named {name!r}")
        self.name = name
        net: Any = timm.create_model(name, num_classes=0)
        self.net = net
        stages = [info for info in getattr(net, "feature_info", []) if "reduction" in info]
        if len(stages) != STAGES or not hasattr(net, "stages"):
            raise ModelError(
                f"backbone {name!r}: needs {STAGES} stages of falling resolution, "
                f"has {len(stages) if hasattr(self.net, 'stages') else 'none'}"
            )
        self.channels = tuple(int(stage["num_chs"]) for stage in stages)
        self.mean: tuple[float, float, float] = tuple(net.pretrained_cfg["mean"])
        self.std: tuple[float, float, float] = tuple(net.pretrained_cfg["std"])
        # On the model's device from the start: a copy at every step would wait for it.
        for name, values in (("pixel_mean", self.mean), ("pixel_std", self.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.hub_id: str | None = net.pretrained_cfg.get("hf_hub_id")
        self.tap = AttentionTap(stage_attentions(net, name))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the output of each stage, (B, C_s, H / 2^(s+2), W / 2^(s+2)).

        Args:
            pictures: (B, 3, H, W), normalised; H and W multiples of 32.
        """
        stages: list[Tensor] = self.net.forward_intermediates(pictures, intermediates_only=True)
        return stages


def load_pretrained(backbone: Backbone, directory: Path | None) -> str:
    """Load pretrained weights into `backbone` and say where they came from.

    A file `<name>.safetensors` in `directory` is taken first, then timm's hub is asked.

    Returns:
        The source, for the version's record; "scratch" where there are no weights to be had.

    Raises:
        ModelError: the file is there but does not fit the backbone.
    """
    path = directory / f"{backbone.name}.safetensors" if directory else None
    if path and path.is_file():
        _load_file(backbone, path)
        return f"file {path.name}"
    repository = backbone.hub_id
    if repository is None:
        return f"{SCRATCH} (timm knows no pretrained weights of it)"
    try:
        # timm's own loading would fall back to a pickle; only safetensors are opened here.
        weights = hf_hub_download(repository, "model.safetensors", etag_timeout=5)
    except (OSError, ValueError, HfHubHTTPError) as error:
        # An unreachable hub is ordinary: no network, or a machine that may not ask.
        return f"{SCRATCH} (no pretrained weights: {type(error).__name__})"
    _load_file(backbone, Path(weights))
    return f"timm hub: {repository}"


def _load_file(backbone: Backbone, path: Path) -> None:
    wanted = backbone.net.state_dict()
    try:
        weights = {k: v for k, v in load_file(path).items() if k in wanted}
        backbone.net.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{path.name} does not hold the weights of {backbone.name!r}: {error}"
        ) from error


def seeded_backbone(name: str, seed: int) -> Backbone:
    """Build a backbone whose random weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(name)
