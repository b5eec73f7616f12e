"""What readers say of a fault in one word."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sats_core.data.readers import open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.sats_core.data.drawn import encode, write_zip

PICTURE = encode(Image.new("RGB", (8, 6)))
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
    "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[1, 1, 4, 1, 4, 4]]}],
    "categories": [{"id": 1, "name": "cat"}],
}
PANOPTIC = {"image_id": 1, "file_name": "mask.png", "segments_info": []}
CVAT = (
    b"<annotations><meta><labels><label><name>cat</name></label></labels></meta>"
    b'<image name="a.png" width="8" height="6"><polygon label="dog" points="1,1;4,1;4,4"/></image>'
    b"</annotations>"
)
VOC = {
    "JPEGImages/a.png": PICTURE,
    "SegmentationClass/a.png": encode(Image.fromarray(np.full((6, 8), 9, np.uint8))),
}


def coco(**changes: Any) -> dict[str, bytes]:
    return {"a.json": json.dumps(COCO | changes).encode(), "a.png": PICTURE}


@pytest.mark.parametrize(
    ("files", "limits", "code"),
    [
        (VOC, {}, "missing"),
        (VOC | {"classes.txt": b"background\ncat"}, {}, "unknown"),
        (VOC | {"classes.txt": b"background\ncat\ncat"}, {}, "repeated"),
        (VOC | {"classes.txt": b"background\n\xff"}, {}, "unreadable"),
        (VOC | {"classes.txt": b"0 background\n300 cat"}, {}, "invalid"),
        (VOC | {"classes.txt": b"x" * 2**21}, {}, "too_large"),
        ({"annotations.xml": CVAT, "a.png": PICTURE}, {}, "unknown"),
        ({"annotations.xml": CVAT[:90], "a.png": PICTURE}, {}, "unreadable"),
        ({"annotations.xml": CVAT, "a.png": PICTURE}, {"max_annotation_bytes": 9}, "too_large"),
        (coco(), {"max_annotation_bytes": 9}, "too_large"),
        (coco() | {"a.json": coco()["a.json"][:-9]}, {}, "unreadable"),
        (coco(images=COCO["images"] * 2), {}, "repeated"),
        (coco(images=[{"id": 1}]), {}, "invalid"),
        (coco(categories=[{"id": 2, "name": "cat"}]), {}, "unknown"),
        (coco(annotations=[PANOPTIC]), {}, "missing"),
    ],
)
def test_a_fault_has_its_code(
    tmp_path: Path, files: dict[str, bytes], limits: dict[str, int], code: str
) -> None:
    with (
        ZipSource(write_zip(tmp_path / "a.zip", files), Limits(**limits)) as source,
        pytest.raises(DatasetError) as caught,
    ):
        open_reader(source).read("a")
    assert [issue.code for issue in caught.value.issues] == [code]
