"""A version as a directory: weights, config, ONNX graph, scores and model card."""

import json
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.jit._trace import TracerWarning
from torch.nn import functional as F

from sats_core.card import model_card
from sats_core.classes import Catalogue, ClassInfo
from sats_core.errors import ModelError
from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.evaluation.scores import Scores
from sats_core.models import Segmenter, seeded_backbone

WEIGHTS, CONFIG, GRAPH, SCORES, FORGETTING, CARD = (
    "model.safetensors",
    "config.json",
    "model.onnx",
    "scores.json",
    "forgetting.json",
    "README.md",
)
OPSET = 17
AGREEMENT = 0.999
"""Least share of pixels on which graph and torch must name the same class."""


@dataclass(frozen=True)
class LoadedVersion:
    """A version read back from its directory.

    Attributes:
        model: in evaluation mode, on the CPU.
        catalogue: its classes.
        scores: as it was scored.
        config: `config.json`.
    """

    model: Segmenter
    catalogue: Catalogue
    scores: Scores
    config: dict[str, Any]


class ServingGraph(nn.Module):
    """What the service runs: logits, and at the input's size the best class and its score."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, C, H/4, W/4), labels (B, H, W) uint8 and scores (B, H, W).

        Args:
            pixel_values: (B, 3, H, W), normalised; H and W multiples of 32.
        """
        logits = self.model(pixel_values)
        size = pixel_values.shape[-2:]
        full = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        scores, labels = full.softmax(dim=1).max(dim=1)
        return logits, labels.to(torch.uint8), scores


def export_version(
    directory: Path,
    model: Segmenter,
    catalogue: Catalogue,
    scores: Scores,
    forgetting: ForgettingReport | None,
    config: dict[str, Any],
    probes: Sequence[Tensor],
) -> None:
    """Write a version to `directory`, whole or not at all.

    Args:
        directory: must not exist yet; made under a temporary name, synced, then renamed.
        model: to export.
        catalogue: its classes in channel order.
        scores: on held-out pictures.
        forgetting: why old classes lost IoU; None in a base step.
        config: what else `config.json` says: size, settings, backbone's start, ...
        probes: inputs (B, 3, H, W) of more than one size, on which graph and torch are compared.

    Raises:
        ModelError: graph and torch differ on more than 0.1 % of the pixels.
    """
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model = model.to("cpu").eval()
    weights = {name: t.detach().contiguous() for name, t in model.state_dict().items()}
    save_file(weights, partial / WEIGHTS, {"format": "pt"})
    agreement = _write_graph(model, partial / GRAPH, probes)
    whole = {**_described(model, catalogue), **config, "onnx_agreement": agreement}
    (partial / CONFIG).write_text(json.dumps(whole, indent=2) + "\n")
    (partial / SCORES).write_text(scores.model_dump_json(indent=2) + "\n")
    if forgetting:
        (partial / FORGETTING).write_text(forgetting.model_dump_json(indent=2) + "\n")
    (partial / CARD).write_text(model_card(catalogue, scores, forgetting, whole))
    for file in partial.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    partial.replace(directory)


def load_version(directory: Path) -> LoadedVersion:
    """Read a version back from its directory alone.

    Raises:
        ModelError: a file is missing or damaged, or the weights do not fit the config.
    """
    try:
        config = json.loads((directory / CONFIG).read_text())
        catalogue = Catalogue(
            tuple(ClassInfo(**{**c, "colour": tuple(c["colour"])}) for c in config["classes"])
        )
        scores = Scores.model_validate_json((directory / SCORES).read_text())
        model = Segmenter(seeded_backbone(config["backbone"], 0), catalogue.sizes())
        model.load_state_dict(load_file(directory / WEIGHTS))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the version in {directory.name} cannot be loaded: {error}") from error
    return LoadedVersion(model.eval(), catalogue, scores, config)


def _described(model: Segmenter, catalogue: Catalogue) -> dict[str, Any]:
    names = dict(enumerate(catalogue.names))
    return {
        "model_type": "sats",
        "backbone": model.backbone.name,
        "image_mean": list(model.backbone.mean),
        "image_std": list(model.backbone.std),
        "id2label": {str(channel): name for channel, name in names.items()},
        "label2id": {name: channel for channel, name in names.items()},
        "classes": [asdict(c) for c in catalogue.classes],
    }


def _write_graph(model: Segmenter, path: Path, probes: Sequence[Tensor]) -> float:
    """Write the ONNX graph and return the share of pixels on which it agrees with torch."""
    graph = ServingGraph(model).eval()
    with warnings.catch_warnings():
        # torch deprecates this exporter for one that takes longer and writes two
        # files; tracing warns of shape checks that hold for every multiple of 32.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        _trace(graph, path, probes[0])
    agreement = _agreement(graph, path, probes)
    if agreement < AGREEMENT:
        raise ModelError(
            f"the exported graph agrees with torch on {agreement:.4%} of the pixels only"
        )
    return agreement


def _trace(graph: ServingGraph, path: Path, probe: Tensor) -> None:
    names = ("logits", "labels", "scores")
    axes = {name: {0: "batch", 1: "height", 2: "width"} for name in names[1:]}
    torch.onnx.export(
        graph,
        (probe,),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=["pixel_values"],
        output_names=list(names),
        dynamic_axes={
            "pixel_values": {0: "batch", 2: "height", 3: "width"},
            "logits": {0: "batch", 2: "height_4", 3: "width_4"},
            **axes,
        },
    )


@torch.no_grad()
def _agreement(graph: ServingGraph, path: Path, probes: Sequence[Tensor]) -> float:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    same = total = 0
    for probe in probes:
        expected: NDArray[np.uint8] = graph(probe)[1].numpy()
        (labels,) = session.run(["labels"], {"pixel_values": probe.numpy()})
        same += int((labels == expected).sum())
        total += expected.size
    return same / total
