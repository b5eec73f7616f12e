"""A version as a directory: weights, config, ONNX graph, scores and model card.

A version that is a SegFormer, a `mit_*` backbone and the all-MLP head, is a Hugging Face directory
too: its weights have that library's names, its config is that library's with ours under one key,
and `preprocessor_config.json` lies beside them.
"""

import json
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
from torch import Tensor
from torch.jit._trace import TracerWarning

from sats_core.card import model_card
from sats_core.classes import Catalogue, ClassInfo
from sats_core.data.transforms import View
from sats_core.errors import ExportError, ModelError
from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.evaluation.picture_scores import HELD_OUT_SCORES, PictureScores
from sats_core.evaluation.scores import Scores
from sats_core.files import sync
from sats_core.methods.curvature import Curvature
from sats_core.methods.features import FeatureMemory, described
from sats_core.models import Segmenter, seeded_backbone
from sats_core.segformer.exporting import hub_config, hub_processor
from sats_core.segformer.weights import as_float, check, from_hub, shapes_of, to_hub
from sats_core.serving_graph import ServingGraph
from sats_core.version_config import ALL_MLP, is_segformer, read_version_config

WEIGHTS, CONFIG, PROCESSOR, GRAPH, SCORES, FORGETTING, FEATURES, CURVATURE, CARD = (
    "model.safetensors",
    "config.json",
    "preprocessor_config.json",
    "model.onnx",
    "scores.json",
    "forgetting.json",
    "features.safetensors",
    "curvature.safetensors",
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
        features: what it keeps for later steps; None where it keeps none.
        curvature: what it keeps of how its loss minds each weight; None where it keeps none.
    """

    model: Segmenter
    catalogue: Catalogue
    scores: Scores
    config: dict[str, Any]
    features: FeatureMemory | None
    curvature: Curvature | None = None


def export_version(
    directory: Path,
    model: Segmenter,
    catalogue: Catalogue,
    scores: Scores,
    forgetting: ForgettingReport | None,
    config: dict[str, Any],
    probes: Sequence[Tensor],
    features: FeatureMemory | None = None,
    curvature: Curvature | None = None,
    pictures: PictureScores | None = None,
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
        features: what later steps replay; None keeps none.
        curvature: what later steps by `kfac` hold its weights by; None keeps none.
        pictures: its scores on every held-out picture by itself; None where there is none.

    Raises:
        ExportError: the graph cannot be made, or graph and torch differ on more than 0.1 % of the
            pixels.
        ModelError: an answer is not finite.
    """
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model = model.to("cpu").eval()
    agreement = write_graph(model, partial / GRAPH, probes)
    known = {"onnx_agreement": agreement, **described(features)}
    if curvature:
        known["curvature_bytes"] = curvature.size
    whole = {**_described(model, catalogue), **config, **known}
    if is_segformer(whole):
        _write_hub_model(partial, model, catalogue, whole)
    else:
        _write_model(partial, model, catalogue, whole)
    (partial / SCORES).write_text(scores.model_dump_json(indent=2) + "\n")
    if pictures and pictures.sets:
        (partial / HELD_OUT_SCORES).write_text(pictures.model_dump_json() + "\n")
    if forgetting:
        (partial / FORGETTING).write_text(forgetting.model_dump_json(indent=2) + "\n")
    if features:
        features.save(partial / FEATURES)
    if curvature:
        curvature.save(partial / CURVATURE)
    (partial / CARD).write_text(model_card(catalogue, scores, forgetting, whole))
    for file in partial.iterdir():
        sync(file)
    sync(partial)
    partial.replace(directory)


def load_version(directory: Path) -> LoadedVersion:
    """Read a version back from its directory alone.

    Raises:
        ModelError: a file is missing or damaged, or the weights do not fit the config.
    """
    try:
        config = read_version_config((directory / CONFIG).read_bytes())
        catalogue = Catalogue(
            tuple(ClassInfo(**{**c, "colour": tuple(c["colour"])}) for c in config["classes"])
        )
        scores = Scores.model_validate_json((directory / SCORES).read_text())
        model = _built(config, catalogue)
        weights = load_file(directory / WEIGHTS)
        if is_segformer(config):
            check(weights, shapes_of(model.state_dict(), len(catalogue)))
            weights = from_hub(as_float(weights), model.state_dict(), catalogue.sizes())
        model.load_state_dict(weights)
        features = _features(directory / FEATURES, model)
        curvature = _curvature(directory / CURVATURE, model)
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        SafetensorError,
        ModelError,
    ) as error:
        raise ModelError(f"the version in {directory.name} cannot be loaded: {error}") from error
    return LoadedVersion(model.eval(), catalogue, scores, config, features, curvature)


def _features(path: Path, model: Segmenter) -> FeatureMemory | None:
    if not path.exists():
        return None
    stages = sum(model.backbone.channels)
    return FeatureMemory.load(path, model.head.width, stages, model.classifier.channels)


def _curvature(path: Path, model: Segmenter) -> Curvature | None:
    return Curvature.load(path, model) if path.exists() else None


def _described(model: Segmenter, catalogue: Catalogue) -> dict[str, Any]:
    view = model.view
    return {
        "backbone": model.backbone.name,
        "head": model.head.name,
        "head_width": model.head.width,
        "view": view.model_dump(exclude_none=True) if view else None,
        "image_mean": list(model.backbone.mean),
        "image_std": list(model.backbone.std),
        "classes": [asdict(c) for c in catalogue.classes],
    }


def _built(config: dict[str, Any], catalogue: Catalogue) -> Segmenter:
    """Return the architecture that a config describes; one without a view has none of its own."""
    head = config.get("head", ALL_MLP)
    view = View.model_validate(config["view"]) if config.get("view") else None
    backbone = seeded_backbone(config["backbone"], 0)
    model = Segmenter(backbone, catalogue.sizes(), config.get("head_width"), view, head)
    backbone.expect(tuple(config["image_mean"]), tuple(config["image_std"]))
    return model


def _write_model(
    directory: Path, model: Segmenter, catalogue: Catalogue, config: dict[str, Any]
) -> None:
    weights = {name: t.detach().contiguous() for name, t in model.state_dict().items()}
    save_file(weights, directory / WEIGHTS, {"format": "pt"})
    names = dict(enumerate(catalogue.names))
    labels = {
        "model_type": "sats",
        "id2label": {str(channel): name for channel, name in names.items()},
        "label2id": {name: channel for channel, name in names.items()},
    }
    _write_json(directory / CONFIG, labels | config)


def _write_hub_model(
    directory: Path, model: Segmenter, catalogue: Catalogue, config: dict[str, Any]
) -> None:
    backbone, view = model.backbone, model.view_at(config["size"])
    save_file(to_hub(model.state_dict()), directory / WEIGHTS, {"format": "pt"})
    theirs = hub_config(backbone.name, model.head.width, catalogue.names, config)
    _write_json(directory / CONFIG, theirs)
    _write_json(directory / PROCESSOR, hub_processor(view, backbone.mean, backbone.std))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_graph(model: Segmenter, path: Path, probes: Sequence[Tensor]) -> float:
    """Write the ONNX graph and return the share of pixels on which it agrees with torch.

    Args:
        model: in evaluation mode.
        path: of the file.
        probes: (1, 3, H, W) each, normalised; the first one is traced.

    Raises:
        ExportError: the graph cannot be made, or answers otherwise than torch.
        ModelError: the model's answers are not finite.
    """
    graph = ServingGraph(model).eval()
    with warnings.catch_warnings():
        # torch deprecates this exporter for one that takes longer and writes two
        # files; tracing warns of shape checks that hold for every side from 32 pixels on.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        try:
            _trace(graph, path, probes[0])
            agreement = _agreement(graph, path, probes)
        except ModelError:
            raise
        except Exception as error:  # whatever torch, onnx and onnxruntime raise
            raise ExportError(f"the model's graph cannot be made: {error}") from error
    if agreement < AGREEMENT:
        raise ExportError(
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
        logits, marks, _ = graph(probe)
        if not logits.isfinite().all():
            # Two answers that are not numbers agree with each other everywhere.
            raise ModelError("the model's answers to pictures are not finite numbers")
        expected: NDArray[np.uint8] = marks.numpy()
        (labels,) = session.run(["labels"], {"pixel_values": probe.numpy()})
        same += int((labels == expected).sum())
        total += expected.size
    return same / total
