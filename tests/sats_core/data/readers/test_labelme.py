import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sats_core.data.readers import LabelmeReader, glance, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import encode, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, JsonContract

PLACES = {"one": "train", "sub/three": "train", "two": "val", "alone": "train"}
NAMES = {1: "cat", 2: "dog", 255: "__ignore__"}


def shape(label: str, points: Any, **changes: Any) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    } | changes


def saved(shapes: list[Any], picture: str, height: Any, width: Any, data: Any = None) -> bytes:
    """A file as LabelMe saves it, in its order."""
    whole = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": picture,
        "imageData": data,
        "imageHeight": height,
        "imageWidth": width,
    }
    return json.dumps(whole, indent=2).encode()


class LabelmeContract(JsonContract):
    kind = LabelmeReader

    def shapes(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        files = {f"{PLACES[i]}/{i}.png": encode(picture) for i, picture in PICTURES.items()}
        for name, label in LABELS.items():
            values = [value for value in np.unique(label).tolist() if value]
            shapes = [one for value in values for one in self.shapes(label, value)]
            picture = f"{name.rpartition('/')[2]}.png"
            embedded = base64.b64encode(files[f"{PLACES[name]}/{name}.png"]).decode()
            text = saved(shapes, picture, *label.shape, embedded)
            files[f"{PLACES[name]}/{name}.json"] = text
        return files

    def test_without_a_class_list(self, tmp_path: Path) -> None:
        files = {"a.png": encode(PICTURES["one"]), "a.json": saved([], "a.png", 6, 8)}
        self.refusal(tmp_path, files, "names no class")


class TestPolygons(LabelmeContract):
    """Every pixel a polygon of its own."""

    def shapes(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        return [
            shape(NAMES[value], [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]])
            for y, x in np.argwhere(label == value).tolist()
        ]


class TestMasks(LabelmeContract):
    """Masks inside of their boxes, as LabelMe's AI tools draw them."""

    def shapes(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        rows, columns = np.nonzero(label == value)
        box = [[columns.min(), rows.min()], [columns.max(), rows.max()]]
        inside = (label == value)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        png = base64.b64encode(encode(Image.fromarray(inside))).decode()
        points = [[float(number) for number in point] for point in box]
        return [shape(NAMES[value], points, shape_type="mask", mask=png)]


PNG = base64.b64encode(encode(Image.new("1", (2, 2), 1))).decode()
SQUARE = [[1.0, 1.0], [4.0, 1.0], [4.0, 4.0], [1.0, 4.0]]


def packed(path: Path, text: bytes) -> ZipSource:
    files = {"ann/a.json": text, "img/a.png": encode(PICTURES["one"])}
    return ZipSource(write_zip(path / "a.zip", files), Limits())


def label_of(path: Path, *shapes: Any) -> np.ndarray:
    with packed(path, saved(list(shapes), "..\\img\\a.png", 6, 8)) as source:
        return open_reader(source).read("img/a").label


def test_the_later_shape_is_on_top_and_a_type_may_be_missing(tmp_path: Path) -> None:
    label = label_of(tmp_path, shape("cat", SQUARE), shape("dog", SQUARE, shape_type=None))
    assert (label[1:4, 1:4] == 2).all()
    assert (label > 0).sum() == 9


def test_what_has_no_inside_is_left_out_with_a_warning(tmp_path: Path) -> None:
    line = shape("cat", [[0, 0], [1, 1]], shape_type="line")
    with packed(tmp_path, saved([line, shape("dog", SQUARE)], "a.png", 6, 8)) as source:
        reader = open_reader(source)
        assert reader.classes == ("dog",)
        assert reader.warnings == [
            "LabelMe: 1 shapes of type line are left out: only polygons and masks are read"
        ]


def test_a_mask_at_no_place_is_refused(tmp_path: Path) -> None:
    masked = shape("cat", [[77.5, 0]], shape_type="mask", mask=PNG)
    text = saved([masked], "a.png", 6, 8).replace(b"77.5", b"1e999")
    with packed(tmp_path, text) as source, pytest.raises(DatasetError, match="not the JSON"):
        open_reader(source).label("img/a")


def test_kinds_without_end_are_counted_together(tmp_path: Path) -> None:
    odd = [shape("cat", [], shape_type=f"kind\n{number}") for number in range(100)]
    with packed(tmp_path, saved([*odd, shape("dog", SQUARE)], "a.png", 6, 8)) as source:
        warnings = open_reader(source).warnings
    assert len(warnings) == 21
    assert "LabelMe: 80 shapes of type others are left out" in warnings[-1]
    assert "kind?0" in warnings[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": ""}, "1 to 1000"),
        ({"label": 3}, "1 to 1000"),
        ({"shape_type": 3}, "1 to 1000"),
        ({"points": 3}, "are a list"),
        ({"points": [3]}, "two numbers"),
        ({"points": [[1, 2]]}, "three pairs"),
        ({"points": [["1", "2"]] * 3}, "finite"),
        ({"points": [[1e300, 2]] * 3}, "finite"),
        ({"points": [[1, 2]] * 140_000}, "more than 250000"),
        ({"shape_type": "mask"}, "PNG in base64"),
        ({"shape_type": "mask", "mask": "x"}, "PNG in base64"),
        ({"shape_type": "mask", "mask": "\u2603"}, "PNG in base64"),
        ({"shape_type": "mask", "mask": base64.b64encode(b"GIF89a").decode()}, "PNG in base64"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        label_of(tmp_path, shape("cat", SQUARE) | changes)
    assert caught.value.issues[0].file == "ann/a.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"shapes": []', "not the JSON of LabelMe"),
        (b'{"shapes": [3]}', "is no object"),
        (b'{"shapes": {}}', "are no list"),
        (b'{"shapes": []}', "1 to 1000"),
        (b'{"shapes": [], "imagePath": "a", "imageWidth": 8}', "no size"),
        (b'{"shapes": [], "a": ' + b"[" * 1000, "nested deeper"),
        (b'{"shapes": [{"a": ' + b"[" * 1000, "nested deeper"),
        (b'{"shapes": [], "imageData": "' + b"x" * (36 * 2**20), "more than"),
    ],
    ids=range(8),
)
def test_hostile_json_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    with packed(tmp_path, text) as source, pytest.raises(DatasetError, match=message) as caught:
        open_reader(source)
    assert caught.value.issues[0].file == "ann/a.json"


def test_two_pictures_of_one_name_are_named(tmp_path: Path) -> None:
    files = TestPolygons().files()
    for suffix in (".json", ".png"):
        files[f"val/one{suffix}"] = files[f"train/one{suffix}"]
    with (
        ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source,
        pytest.raises(DatasetError, match="picture of the same name"),
    ):
        open_reader(source)


def test_a_glance_parses_nothing(tmp_path: Path) -> None:
    with packed(tmp_path, b'{"shapes": [') as source:
        assert glance(source) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(
    key=st.sampled_from(["label", "points", "shape_type", "mask"]),
    outer=st.sampled_from(["shapes", "imagePath", "imageHeight", "imageWidth"]),
    value=json_values,
)
def test_any_value_anywhere_is_read_or_a_clear_error(
    tmp_path: Path, key: str, outer: str, value: Any
) -> None:
    with suppress(DatasetError):
        label_of(tmp_path, shape("cat", SQUARE) | {key: value})
    whole = json.loads(saved([shape("cat", SQUARE)], "a.png", 6, 8)) | {outer: value}
    with packed(tmp_path, json.dumps(whole).encode()) as source, suppress(DatasetError):
        open_reader(source).read("img/a")
