"""What a project exports, as `exportType=JSON`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.sats_core.data.readers.brushes import encode


def brush(mask: np.ndarray, label: str, **values: Any) -> dict[str, Any]:
    """Return a region of a mask (H, W)."""
    height, width = mask.shape
    rle = encode((mask > 0).astype(np.uint8) * 255)
    return {
        "id": "a1",
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": rle, "brushlabels": [label]},
    } | values


def task(
    number: int, address: str, *regions: Mapping[str, Any], **annotation: Any
) -> dict[str, Any]:
    """Return a task with one annotation."""
    return {
        "id": number,
        "data": {"image": address},
        "file_upload": f"0123abcd-{number}.png",
        "annotations": [{"id": 9, "result": list(regions), "was_cancelled": False} | annotation],
        "predictions": [{"result": [brush(np.ones((4, 4)), "huge")]}],
        "meta": {"deep": [[{"a": None}]]},
    }


def halves(label: str, numbers: Sequence[int], size: int = 16) -> list[dict[str, Any]]:
    """Return tasks on `/data/N.png` whose left half is labelled."""
    mask = np.zeros((size, size))
    mask[:, : size // 2] = 1
    return [task(number, f"/data/{number}.png", brush(mask, label)) for number in numbers]
