"""What readers say of a fault in one word."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sats_core.data.readers import glance, open_reader
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


@pytest.mark.parametrize(
    ("files", "file"),
    [
        ({"annotations.xml": CVAT}, "annotations.xml"),
        ({"a.json": coco()["a.json"]}, "a.json"),
        ({"x/a.json": b'[{"annotations": []}]'}, "x/a.json"),
        ({"x/a.json": b'{"shapes": []}', "y/b.json": b"{}"}, "x/a.json"),
        (
            VOC | {"SegmentationClass/a.png": None, "classes.txt": b"background\ncat"},
            "SegmentationClass/",
        ),
    ],
)
def test_what_stands_alone_is_named(
    tmp_path: Path, files: dict[str, bytes | None], file: str
) -> None:
    there = {name: data for name, data in files.items() if data is not None}
    there |= {"readme/notes.txt": b"so that no folder holds everything"}
    with ZipSource(write_zip(tmp_path / "set.zip", there), Limits()) as source:
        with pytest.raises(DatasetError) as caught:
            (open_reader if "classes.txt" in files else glance)(source)
        assert [issue.file for issue in caught.value.issues] == [file]


def test_a_zip_full_of_unsafe_names_is_refused_in_few_words(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {f"../{'x' * 900}{n}": b"" for n in range(300)})
    with pytest.raises(DatasetError, match="300 in all") as caught:
        ZipSource(path, Limits())
    assert len(caught.value.issues) == 100
