"""What makes a version a Hugging Face directory too; torch-free."""

from collections.abc import Sequence
from typing import Any

from sats_core.data.transforms import View
from sats_core.segformer.config import SEGMENTATION
from sats_core.segformer.processor import BILINEAR, Triple
from sats_core.segformer.variants import DEPTHS, SHARED, hidden_sizes
from sats_core.version_config import OWN

DROPOUT = 0.1
"""In the head while it is trained: there it drops single values, ours whole channels."""


def hub_config(
    backbone: str, head_width: int, labels: Sequence[str], own: dict[str, Any]
) -> dict[str, Any]:
    """Return the `config.json` of a `SegformerForSemanticSegmentation`.

    Args:
        backbone: `mit_b0` ... `mit_b5`.
        head_width: of the decode head.
        labels: by channel.
        own: what we say of the version, kept under one key that the library leaves alone.
    """
    return {
        "architectures": [SEGMENTATION],
        "model_type": "segformer",
        **SHARED,
        "depths": DEPTHS[backbone],
        "hidden_sizes": hidden_sizes(backbone),
        "decoder_hidden_size": head_width,
        "layer_norm_eps": 1e-5,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout_prob": DROPOUT,
        "drop_path_rate": 0.0,
        "semantic_loss_ignore_index": 255,
        "id2label": {str(channel): name for channel, name in enumerate(labels)},
        "label2id": {name: channel for channel, name in enumerate(labels)},
        OWN: own,
    }


def hub_processor(view: View, mean: Triple, std: Triple) -> dict[str, Any]:
    """Return the `preprocessor_config.json` that shows pictures as a version sees them.

    `stretch` and `inside` are said exactly, but for pictures so thin that a side is below 32
    pixels, which the library does not pad. A `longest` view, which steps on `mit_*` backbones do
    not have, comes out as `inside`: without our padding and our rounding to the nearest.
    """
    if view.stretch:
        kind, size = "", {"height": view.stretch[0], "width": view.stretch[1]}
    else:
        side = view.inside or view.longest or 0
        # transformers 4 has two processors, and only the fast one knows these keys; 5 has one.
        kind, size = "Fast", {"max_height": side, "max_width": side}
    return {
        "image_processor_type": f"SegformerImageProcessor{kind}",
        "do_resize": True,
        "size": size,
        "resample": BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
        "do_reduce_labels": False,
    }
