"""The model card that lies beside a version's weights."""

from collections.abc import Mapping
from typing import Any

from sats_core.classes import Catalogue
from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.evaluation.scores import Scores
from sats_core.segformer.variants import DEPTHS
from sats_core.version_config import is_segformer


def model_card(
    catalogue: Catalogue,
    scores: Scores,
    forgetting: ForgettingReport | None,
    config: Mapping[str, Any],
) -> str:
    """Return the card as Markdown.

    Args:
        catalogue: the version's classes.
        scores: on held-out pictures.
        forgetting: why old classes lost IoU; None in a base step.
        config: `config.json` of the version.
    """
    return "\n".join(
        [
            "---",
            "tags: [semantic-segmentation, continual-learning, sats]",
            "---",
            f"# Semantic segmentation, {len(catalogue) - 1} classes",
            "",
            *_facts(config, scores),
            "",
            "## Classes and scores",
            "",
            f"On {scores.pictures} held-out pictures; IoU of each class, and what it has lost "
            "since the version that brought it.",
            "",
            "| channel | index in masks | class | step | IoU | forgetting |",
            "|---|---|---|---|---|---|",
            *_rows(catalogue, scores),
            "",
            f"mIoU old {_figure(scores.miou_old)} / new {_figure(scores.miou_new)} / "
            f"all {_figure(scores.miou_all)}.",
            "",
            *_causes(forgetting),
            "## Use",
            "",
            "`model.onnx` takes `pixel_values` (B, 3, H, W): RGB / 255, less `image_mean`, by "
            f"`image_std` of `config.json`, {_view(config)}. It gives "
            "`labels` (B, H, W), the channel of each pixel, `scores` (B, H, W), its probability, "
            "and `logits` (B, C, H/4, W/4).",
            *_in_transformers(config),
            "",
            "## Limits",
            "",
            "The scores hold for pictures like the held-out ones. A picture labelled for some "
            "classes only was scored on those alone.",
            "",
        ]
    )


def _in_transformers(config: Mapping[str, Any]) -> list[str]:
    if config["backbone"] not in DEPTHS:
        return []
    if not is_segformer(config):
        return [
            "",
            f"This directory is no Hugging Face model: its head is `{config['head']}`, which that "
            "library's SegFormer does not have. `model.onnx` runs anywhere.",
        ]
    return [
        "",
        "This directory is a Hugging Face model too: "
        "`SegformerForSemanticSegmentation.from_pretrained`, `AutoImageProcessor.from_pretrained` "
        'and `pipeline("image-segmentation", ...)` open it.',
    ]


def _view(config: Mapping[str, Any]) -> str:
    view = config.get("view") or {}
    if "stretch" in view:
        height, width = view["stretch"]
        return f"stretched to {height} x {width} pixels (height x width)"
    if "inside" in view:
        return f"as large as fits into {view['inside']} x {view['inside']} pixels"
    return f"the longer side {config['size']} pixels, height and width padded to multiples of 32"


def _last_step(config: Mapping[str, Any]) -> str:
    origin = config.get("origin")
    if origin:
        return f"- imported from {origin['source']}, weights sha256 {origin['sha256']}"
    if gone := config.get("retired"):
        return f"- without {', '.join(gone)}, taken away ({config['depth']})"
    settings = config["settings"]
    epochs = settings["epochs"]
    passes = "one pass, then solved" if epochs is None else f"{epochs} epochs"
    return (
        f"- last step: {settings['method']}, {passes}, "
        f"{config['trained_pictures']} training pictures"
    )


def _facts(config: Mapping[str, Any], scores: Scores) -> list[str]:
    pixels = _figure(scores.pixel_accuracy)
    return [
        f"- backbone: {config['backbone']}, first weights: {config['backbone_start']}",
        _last_step(config),
        f"- pixel accuracy: {pixels}",
        f"- kept for later steps: what {_kept(config)} at {config['kept_features']} pixels",
        f"- graph and weights agree on {config['onnx_agreement']:.3%} of the probed pixels",
    ]


def _kept(config: Mapping[str, Any]) -> str:
    sees = "the classifier sees"
    return f"{sees} and the backbone's stages give" if config.get("kept_stages") else sees


def _causes(forgetting: ForgettingReport | None) -> list[str]:
    if forgetting is None:
        return []
    return ["## Why it forgot", "", *(f"- {line}" for line in forgetting.readings.values()), ""]


def _rows(catalogue: Catalogue, scores: Scores) -> list[str]:
    return [
        f"| {channel} | {c.index} | {c.name} | {c.step} | {_figure(scores.iou[c.name])} "
        f"| {_figure(scores.forgetting.get(c.name))} |"
        for channel, c in enumerate(catalogue.classes)
    ]


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
