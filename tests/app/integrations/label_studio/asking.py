"""Requests as Label Studio sends them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sats_core.data.readers.brush import decode_alpha
from tests.fixtures.label_studio import CONFIG

BASE = "/integrations/label-studio"


def body(addresses: Sequence[str], config: str = CONFIG, key: str = "image") -> dict[str, Any]:
    """Return the body of `/predict` for tasks with these addresses."""
    tasks = [
        {
            "id": number,
            "data": {key: address},
            "project": 1,
            "annotations": [{"id": 1, "result": [{"value": {"rle": [0] * 50}}]}],
            "predictions": [],
        }
        for number, address in enumerate(addresses, 1)
    ]
    return {"tasks": tasks, "project": "1.1795300000", "label_config": config, "params": {}}


def brushes(result: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the mask (H, W) of each label of a prediction."""
    found = {}
    for region in result["result"]:
        assert region["type"] == "brushlabels"
        assert region["image_rotation"] == 0
        height, width = region["original_height"], region["original_width"]
        value = region["value"]
        assert value["format"] == "rle"
        alpha = decode_alpha(bytes(value["rle"]), height * width).reshape(height, width)
        assert set(np.unique(alpha)) <= {0, 255}
        (label,) = value["brushlabels"]
        found[label] = alpha == 255
    return found
