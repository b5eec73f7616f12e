import base64
import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sats_core.data.readers import SuperviselyReader, glance, open_reader
from sats_core.data.readers.bitmaps import MAX_INFLATED, embedded_mask
from sats_core.data.readers.coco_shapes import ShapeError
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.sats_core.data.drawn import encode, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, JsonContract

PLACES = {"one": "train", "sub/three": "train", "two": "val", "alone": "train"}
NAMES = {1: "cat", 2: "dog", 255: "void"}
WRITTEN = (
    "eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTwebo4hlTMSa44"
    "sKHhISMDuxpTYrr03F6gDIOnq5/LOqeEJgDM5ht6"
)
"""A ring of 3 x 3 pixels, as Supervisely's SDK writes it in its documentation."""


def bitmap(mask: np.ndarray) -> str:
    """A mask as the SDK's `data_2_base64` writes it."""
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    return base64.b64encode(zlib.compress(encode(image, transparency=0, optimize=0))).decode()


def thing(title: str, kind: str, **geometry: Any) -> dict[str, Any]:
    return {
        "id": 497521359,
        "classId": 1661571,
        "description": "",
        "geometryType": kind,
        "labelerLogin": "alexxx",
        "tags": [],
        "classTitle": title,
    } | geometry


def annotation(*objects: Any, size: tuple[int, int] = (6, 8), **changes: Any) -> bytes:
    height, width = size
    tags = [{"id": 1, "name": "train", "value": None}]
    whole = {"description": "", "tags": tags, "size": {"height": height, "width": width}}
    return json.dumps(whole | {"objects": list(objects)} | changes).encode()


def meta(*titles: Any) -> bytes:
    classes = [
        {"title": title, "shape": "any", "color": "#F6FF00", "geometry_config": {}, "id": 1}
        for title in titles
    ]
    return json.dumps({"classes": classes, "tags": [], "projectType": "images"}).encode()


class SuperviselyContract(JsonContract):
    kind = SuperviselyReader

    def objects(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        files = {f"{PLACES[i]}/img/{i}.png": encode(p) for i, p in PICTURES.items()}
        for name, label in LABELS.items():
            values = [value for value in np.unique(label).tolist() if value]
            objects = [one for value in values for one in self.objects(label, value)]
            height, width = label.shape
            text = annotation(*objects, size=(height, width))
            files[f"{PLACES[name]}/ann/{name}.png.json"] = text
        return files | {self.class_file(): meta("cat", "dog", "void")}

    def class_file(self) -> str:
        return "meta.json"

    def test_without_a_class_list(self, tmp_path: Path) -> None:
        for text in (b"{}", b"3", b"{", meta(), meta(3), b'{"classes": 3}', b'{"classes": [3]}'):
            files = self.files() | {self.class_file(): text}
            refused = self.refusal(tmp_path, files, "class")
            assert refused.issues[0].file == "meta.json"


class TestBitmaps(SuperviselyContract):
    def objects(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        rows, columns = np.nonzero(label == value)
        top, left = int(rows.min()), int(columns.min())
        inside = (label == value)[top : rows.max() + 1, left : columns.max() + 1]
        data = {"data": bitmap(inside), "origin": [left, top]}
        return [thing(NAMES[value], "bitmap", bitmap=data)]


class TestPolygons(SuperviselyContract):
    """Every pixel a polygon of its own."""

    def objects(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        return [
            thing(
                NAMES[value],
                "polygon",
                points={
                    "exterior": [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]],
                    "interior": [],
                },
            )
            for y, x in np.argwhere(label == value).tolist()
        ]


SQUARE = {"exterior": [[1, 1], [5, 1], [5, 5], [1, 5]], "interior": []}


def packed(path: Path, text: bytes) -> ZipSource:
    files = {
        "meta.json": meta("cat", "dog"),
        "my/ann/a.png.json": text,
        "my/img/a.png": encode(PICTURES["one"]),
    }
    return ZipSource(write_zip(path / "a.zip", files), Limits())


def label_of(path: Path, *objects: Any) -> np.ndarray:
    with packed(path, annotation(*objects)) as source:
        return open_reader(source).read("my/a").label


def test_what_the_sdk_wrote_is_read() -> None:
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
    np.testing.assert_array_equal(embedded_mask(WRITTEN, 9, compressed=True), ring)
    np.testing.assert_array_equal(embedded_mask(bitmap(ring), 9, compressed=True), ring)


def test_a_hole_shows_what_lies_under_it(tmp_path: Path) -> None:
    hole = SQUARE | {"interior": [[[2, 2], [4, 2], [4, 4], [2, 4]]]}
    under, over = thing("dog", "polygon", points=SQUARE), thing("cat", "polygon", points=hole)
    label = label_of(tmp_path, under, over)
    assert (label[2:4, 2:4] == 2).all()
    assert (label == 1).sum() == 12


def test_boxes_are_left_out_with_a_warning(tmp_path: Path) -> None:
    box = thing("cat", "rectangle", points={"exterior": [[0, 0], [3, 3]], "interior": []})
    with packed(tmp_path, annotation(box)) as source:
        assert open_reader(source).warnings == [
            "Supervisely: 1 objects of type rectangle are left out: only polygons and bitmaps are "
            "read"
        ]


def test_a_glance_reads_meta_alone(tmp_path: Path) -> None:
    with packed(tmp_path, b"{") as source:
        assert glance(source) == ("cat", "dog")


BOMB = base64.b64encode(zlib.compress(bytes(MAX_INFLATED + 1), 9)).decode()
CUT = base64.b64encode(zlib.compress(bytes(100))[:-3]).decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classTitle": "bird"}, "not in meta.json"),
        ({"geometryType": None}, "1 to 1000"),
        ({"points": None}, "not the JSON"),
        ({"points": {}}, "'exterior'"),
        ({"points": {"exterior": [[1, 2]]}}, "three pairs"),
        ({"points": SQUARE | {"interior": [[[1, 2]]]}}, "three pairs"),
        ({"points": SQUARE | {"interior": 3}}, "not the JSON"),
        ({"geometryType": "bitmap"}, "'bitmap'"),
        ({"geometryType": "bitmap", "bitmap": {"data": WRITTEN, "origin": [1]}}, "not the JSON"),
        ({"geometryType": "bitmap", "bitmap": {"data": WRITTEN, "origin": ["1", 2]}}, "whole"),
        ({"geometryType": "bitmap", "bitmap": {"data": WRITTEN, "origin": [8, 0]}}, "outside"),
        ({"geometryType": "bitmap", "bitmap": {"data": BOMB, "origin": [0, 0]}}, "inflates to"),
        ({"geometryType": "bitmap", "bitmap": {"data": CUT, "origin": [0, 0]}}, "cut off"),
        ({"geometryType": "bitmap", "bitmap": {"data": 3, "origin": [0, 0]}}, "base64"),
    ],
    ids=range(14),
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        label_of(tmp_path, thing("cat", "polygon", points=SQUARE) | changes)
    assert caught.value.issues[0].file == "my/ann/a.png.json"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    key=st.sampled_from(["classTitle", "geometryType", "points", "bitmap"]),
    inner=st.sampled_from(["exterior", "interior", "data", "origin"]),
    outer=st.sampled_from(["objects", "size"]),
    value=json_values,
)
def test_any_value_anywhere_is_read_or_a_clear_error(
    tmp_path: Path, key: str, inner: str, outer: str, value: Any
) -> None:
    drawn = {"data": WRITTEN, "origin": [0, 0]}
    for kind in ("polygon", "bitmap"):
        whole = thing("cat", kind, points=SQUARE, bitmap=drawn)
        nested = whole | {"points": SQUARE | {inner: value}, "bitmap": drawn | {inner: value}}
        for one in (whole | {key: value}, nested):
            with suppress(DatasetError):
                label_of(tmp_path, one)
    text = json.dumps(json.loads(annotation()) | {outer: value}).encode()
    with packed(tmp_path, text) as source, suppress(DatasetError):
        open_reader(source).read("my/a")


@given(data=st.binary(max_size=40), size=st.integers(0, 50))
def test_any_bytes_are_a_mask_or_a_clear_error(data: bytes, size: int) -> None:
    for whole in (data, zlib.compress(data), encode(Image.new("1", (2, 2)))[:size] + data):
        with suppress(ShapeError):
            embedded_mask(base64.b64encode(whole).decode(), 100, compressed=True)
