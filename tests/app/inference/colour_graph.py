"""A real ONNX graph that tells classes by colour, shaped as exported versions are."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sats_core.classes import ClassInfo

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
SHARPNESS = 50.0

BACKGROUND = ClassInfo(0, "background", (0, 0, 0), 0)
RED = ClassInfo(1, "red", (255, 0, 0), 0)
GREEN = ClassInfo(2, "green", (0, 255, 0), 0)
BLUE = ClassInfo(7, "blue", (0, 0, 255), 1)  # after a roll-back channel and index part
CLASSES = (BACKGROUND, RED, GREEN, BLUE)


def write_version(
    path: Path, classes: Sequence[ClassInfo] = CLASSES, size: int = 64
) -> tuple[Path, Path]:
    """Write `config.json` and `model.onnx`; a pixel belongs to the class of the nearest colour."""
    path.mkdir(parents=True, exist_ok=True)
    config, graph = path / "config.json", path / "model.onnx"
    config.write_text(json.dumps(config_json(classes, size)))
    graph.write_bytes(colour_graph(classes).SerializeToString())
    return config, graph


def config_json(classes: Sequence[ClassInfo], size: int) -> dict[str, object]:
    return {
        "model_type": "sats",
        "size": size,
        "image_mean": MEAN,
        "image_std": STD,
        "id2label": {str(i): c.name for i, c in enumerate(classes)},
        "classes": [
            {"index": c.index, "name": c.name, "colour": list(c.colour), "step": c.step}
            for c in classes
        ],
    }


def colour_graph(classes: Sequence[ClassInfo]) -> onnx.ModelProto:
    # -|x - c|^2 without what all classes share: 2 c.x - |c|^2, linear in x, on normalised input.
    colours = np.array([c.colour for c in classes], dtype=np.float64) / 255
    weight = 2 * SHARPNESS * colours
    bias = weight @ np.array(MEAN) - SHARPNESS * (colours**2).sum(axis=1)
    constants = {
        "weight": (weight * np.array(STD))[:, :, None, None].astype(np.float32),
        "bias": bias.astype(np.float32),
        "scales": np.array([1, 1, 4, 4], dtype=np.float32),
    }
    nodes = [
        helper.make_node(
            "AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]
        ),
        helper.make_node("Conv", ["pooled", "weight", "bias"], ["logits"]),
        helper.make_node("Resize", ["logits", "", "scales"], ["large"], mode="linear"),
        helper.make_node("ArgMax", ["large"], ["best"], axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["labels"], to=TensorProto.UINT8),
        helper.make_node("Softmax", ["large"], ["shares"], axis=1),
        helper.make_node("ReduceMax", ["shares"], ["scores"], axes=[1], keepdims=0),
    ]
    floats, bytes_ = TensorProto.FLOAT, TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixel_values", floats, ["batch", 3, "h", "w"])],
        [
            helper.make_tensor_value_info("logits", floats, ["batch", len(classes), "h4", "w4"]),
            helper.make_tensor_value_info("labels", bytes_, ["batch", "h", "w"]),
            helper.make_tensor_value_info("scores", floats, ["batch", "h", "w"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
