import json
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco

from sats_core.data.readers import CocoReader, open_reader
from sats_core.data.readers.coco_shapes import ShapeError, shape_runs
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import encode, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, JsonContract

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 9, "name": "void"}]
CATEGORY = {1: 3, 2: 7, 255: 9}
SPLITS = {"train": ("one", "sub/three"), "val": ("two",)}


def shape_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    runs = shape_runs(segmentation, height, width)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape((height, width), order="F")


def entry(number: int, name: str) -> dict[str, Any]:
    height, width = LABELS[name].shape
    return {"id": number, "file_name": f"{name}.png", "height": height, "width": width}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": packed["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": counts}


def polygons(mask: np.ndarray) -> list[list[float]]:
    """Every pixel a square of its own."""
    return [
        [float(v) for v in (x, y, x + 1, y, x + 1, y + 1, x, y + 1)]
        for y, x in np.argwhere(mask).tolist()
    ]


class CocoContract(JsonContract):
    kind = CocoReader

    def shape(self, mask: np.ndarray) -> Any:
        raise NotImplementedError

    def document(self, names: tuple[str, ...]) -> dict[str, Any]:
        images = [entry(number, name) for number, name in enumerate(names, start=5)]
        annotations = [
            {
                "id": 100 * image["id"] + value,
                "image_id": image["id"],
                "category_id": CATEGORY[value],
                "segmentation": self.shape(LABELS[name] == value),
                "iscrowd": 0,
            }
            for image, name in zip(images, names, strict=True)
            for value in np.unique(LABELS[name]).tolist()
            if value
        ]
        return {"annotations": annotations, "images": images, "categories": CATEGORIES}

    def files(self) -> dict[str, bytes]:
        files = {f"images/{i}.png": encode(picture) for i, picture in PICTURES.items()}
        for split, names in SPLITS.items():
            text = json.dumps(self.document(names))
            files[f"annotations/instances_{split}2017.json"] = text.encode()
        return files

    def class_file(self) -> str:
        return "annotations/instances_train2017.json"

    def test_without_a_class_list(self, tmp_path: Path) -> None:
        files = {n: d for n, d in self.files().items() if not n.endswith(".json")}
        self.refusal(tmp_path, files, "none of the layouts")


class TestCompressedRuns(CocoContract):
    def shape(self, mask: np.ndarray) -> Any:
        return compressed(mask)


class TestRuns(CocoContract):
    def shape(self, mask: np.ndarray) -> Any:
        return uncompressed(mask)


class TestPolygons(CocoContract):
    def shape(self, mask: np.ndarray) -> Any:
        return polygons(mask)


class TestPanoptic(CocoContract):
    def document(self, names: tuple[str, ...]) -> dict[str, Any]:
        images = [entry(number, name) for number, name in enumerate(names, start=5)]
        annotations = [
            {
                "image_id": image["id"],
                "file_name": f"{name}.png",
                "segments_info": [
                    {"id": 70_000 + value, "category_id": CATEGORY[value]}
                    for value in np.unique(LABELS[name]).tolist()
                    if value
                ],
            }
            for image, name in zip(images, names, strict=True)
        ]
        return {"images": images, "annotations": annotations, "categories": CATEGORIES}

    def files(self) -> dict[str, bytes]:
        files = super().files()
        for split, names in SPLITS.items():
            for name in names:
                ids = np.where(LABELS[name] > 0, 70_000 + LABELS[name].astype(int), 0)
                rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1)
                png = encode(Image.fromarray(rgb.astype(np.uint8)))
                files[f"annotations/instances_{split}2017/{name}.png"] = png
        return files

    def test_a_segment_that_is_not_listed_is_named(self, tmp_path: Path) -> None:
        file = "annotations/instances_val2017/two.png"
        wrong = encode(Image.fromarray(np.full((5, 7, 3), 9, np.uint8)))
        with self._packed("zip", tmp_path, self.files() | {file: wrong}) as source:
            with pytest.raises(DatasetError, match="not in segments_info") as caught:
                open_reader(source).read("two")
            assert caught.value.issues[0].file == file

    def test_a_mask_that_is_not_there_is_not_another_pictures(self, tmp_path: Path) -> None:
        names = ("one", "two")
        document = self.document(names)
        document["annotations"][0]["file_name"] = "cam1/two.png"
        document["annotations"][1]["file_name"] = "cam2/two.png"
        files = {f"images/{name}.png": encode(PICTURES[name]) for name in names}
        files["panoptic.json"] = json.dumps(document).encode()
        mask = self.files()["annotations/instances_val2017/two.png"]
        with (
            self._packed("zip", tmp_path, files | {"panoptic/cam2/two.png": mask}) as source,
            pytest.raises(DatasetError, match=r"panoptic mask cam1/two\.png is missing"),
        ):
            open_reader(source)


def opened(path: Path, document: Any, **files: bytes) -> CocoReader:
    everything = {
        "result.json": document if isinstance(document, bytes) else json.dumps(document).encode(),
        "images/a.png": encode(PICTURES["one"]),
        **files,
    }
    with ZipSource(write_zip(path / "a.zip", everything), Limits()) as source:
        reader = open_reader(source)
        assert isinstance(reader, CocoReader)
        for picture_id in reader.ids:
            reader.read(picture_id)
        return reader


def simple(**changes: Any) -> dict[str, Any]:
    image = {"id": 1, "file_name": "a.png", "height": 6, "width": 8}
    square = [1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]
    shape = {"image_id": 1, "category_id": 1, "segmentation": [square]}
    whole = {"images": [image], "annotations": [shape], "categories": [{"id": 1, "name": "cat"}]}
    return whole | changes


def test_label_studio_writes_paths_of_its_own(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "images/upload/1/a.png", "height": 6, "width": 8}
    assert opened(tmp_path, simple(images=[image])).ids == ("images/upload/1/a",)


@pytest.mark.parametrize("named", ["../../a.png", "/way/a.png", ".way/a.png", "b\x00/a.png"])
def test_a_picture_that_is_called_something_unsafe_goes_by_its_own_name(
    tmp_path: Path, named: str
) -> None:
    image = simple()["images"][0] | {"file_name": named}
    assert opened(tmp_path, simple(images=[image])).ids == ("images/a",)


def cameras() -> dict[str, Any]:
    """A document of two pictures of one last part; only the first has a shape."""
    names = enumerate(("cam1/0001.png", "cam2/0001.png"), start=1)
    image = simple()["images"][0]
    return simple(images=[image | {"id": number, "file_name": name} for number, name in names])


def test_a_picture_that_is_not_there_gets_no_other_ones_file(tmp_path: Path) -> None:
    there = {"images/cam2/0001.png": encode(PICTURES["one"])}
    reader = opened(tmp_path, cameras(), **there)
    assert reader.ids == ("cam2/0001",)
    assert reader.unpaired == ("images/a.png",)


def test_two_listed_pictures_that_are_one_file_are_refused_by_name(tmp_path: Path) -> None:
    there = {"images/0001.png": encode(PICTURES["one"])}
    named = "images/0001.png is listed twice: as cam1/0001.png in result.json, and as cam2/0001.png"
    with pytest.raises(DatasetError, match=named):
        opened(tmp_path, cameras(), **there)


def test_cvat_has_a_file_and_a_folder_for_each_subset(tmp_path: Path) -> None:
    """As *COCO 1.0* of a project; the pictures of two subsets may have the same last part."""
    files = {}
    for subset, folder in {"Train": "first", "Validation": "second"}.items():
        image = simple()["images"][0] | {"file_name": f"{folder}/a.png"}
        text = json.dumps(simple(images=[image])).encode()
        files[f"annotations/instances_{subset}.json"] = text
        files[f"images/{subset}/{folder}/a.png"] = encode(PICTURES["one"])
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        reader = open_reader(source)
        assert reader.splits == {"train": ("first/a",), "val": ("second/a",)}
        assert reader.picture_file("second/a") == "images/Validation/second/a.png"


def test_pictures_of_two_subsets_that_are_called_alike_are_two(tmp_path: Path) -> None:
    """Frames of two videos, as CVAT writes them."""
    text = json.dumps(simple()).encode()
    files = {f"annotations/instances_{each}.json": text for each in ("Train", "Validation")}
    files |= {f"images/{each}/a.png": encode(PICTURES["one"]) for each in ("Train", "Validation")}
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        reader = open_reader(source)
        train, validation = "images/Train/a", "images/Validation/a"
        assert reader.splits == {"train": (train,), "val": (validation,)}
        assert reader.picture_file(validation) == "images/Validation/a.png"


def test_a_missing_picture_is_not_the_one_that_another_subset_calls_so(tmp_path: Path) -> None:
    text = json.dumps(simple()).encode()
    files = {f"annotations/instances_{each}.json": text for each in ("Train", "Validation")}
    files["images/Train/a.png"] = encode(PICTURES["one"])
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        assert open_reader(source).splits == {"train": ("a",)}


def test_roboflow_has_a_file_in_each_folder(tmp_path: Path) -> None:
    text = json.dumps(simple()).encode()
    other = json.dumps(simple(images=[simple()["images"][0] | {"file_name": "b.png"}])).encode()
    files = {
        "train/_annotations.coco.json": text,
        "train/a.png": encode(PICTURES["one"]),
        "valid/_annotations.coco.json": other,
        "valid/b.png": encode(PICTURES["one"]),
    }
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        assert open_reader(source).splits == {"train": ("a",), "val": ("b",)}


def test_the_smaller_shape_is_on_top(tmp_path: Path) -> None:
    small = [2.0, 2.0, 3.0, 2.0, 3.0, 3.0, 2.0, 3.0]
    shapes = [
        {"image_id": 1, "category_id": 2, "segmentation": [small]},
        simple()["annotations"][0],
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    document = simple(annotations=shapes, categories=categories)
    files = {"result.json": json.dumps(document).encode(), "images/a.png": encode(PICTURES["one"])}
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        label = open_reader(source).label("a")
    assert label[2, 2] == 2
    assert (label == 1).sum() == 8


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "not COCO JSON"),
        (b'{"images": [{"id": 1}]}', "'height'"),
        (simple(categories=[]), "names no class"),
        (simple(categories=[{"id": 1, "name": ""}]), "1 to 1000"),
        (simple(categories=[{"id": "1", "name": "cat"}]), "no id or size"),
        (simple(images=simple()["images"] * 2), "twice"),
        (simple(images=[simple()["images"][0] | {"height": 10**9}]), "more than"),
        (simple(images=[simple()["images"][0] | {"height": 7}]), "8 x 7"),
        (
            simple(annotations=[simple()["annotations"][0] | {"category_id": 5}]),
            "category 5, which is not listed",
        ),
        (
            simple(annotations=[simple()["annotations"][0] | {"segmentation": [[1, 2, 3]]}]),
            "three pairs",
        ),
        (
            simple(annotations=[simple()["annotations"][0] | {"segmentation": "x"}]),
            "neither polygons",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        opened(tmp_path, document)
    assert caught.value.issues[0].file == "result.json"


@pytest.mark.parametrize(
    "counts",
    [
        [48, 1],
        [-1, 49],
        [2**62, 1],
        ["48"],
        [True] * 48,
        None,
        "~~~~",
        "\u2603",
        "o" * 40,
        "10000000",
    ],
)
def test_hostile_run_lengths_are_refused(counts: Any) -> None:
    with pytest.raises(ShapeError):
        shape_mask({"size": [6, 8], "counts": counts}, 6, 8)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, "1", None])
def test_hostile_polygons_are_refused(value: Any) -> None:
    with pytest.raises(ShapeError):
        shape_mask([[0, 0, 5, 0, 5, value]], 6, 8)


def test_polygons_beyond_the_picture_are_clipped() -> None:
    assert shape_mask([[-1e6, -1e6, 1e6, -1e6, 1e6, 1e6, -1e6, 1e6]], 6, 8).all()


@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_runs_are_unpacked_as_pycocotools_does(mask: np.ndarray) -> None:
    for shape in (compressed(mask), uncompressed(mask)):
        np.testing.assert_array_equal(shape_mask(shape, *mask.shape), mask)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(
    where=st.sampled_from(["images", "annotations", "categories"]),
    key=st.sampled_from(
        [
            "id",
            "file_name",
            "height",
            "image_id",
            "category_id",
            "segmentation",
            "name",
            "segments_info",
        ]
    ),
    value=json_values,
)
def test_any_value_anywhere_is_read_or_a_clear_error(
    tmp_path: Path, where: str, key: str, value: Any
) -> None:
    document = simple()
    document[where] = [document[where][0] | {key: value}]
    with suppress(DatasetError):
        opened(tmp_path, document)


def held_by_a_reader(path: Path, pictures: int) -> int:
    """Bytes that stay while a reader of so many pictures of 30 polygons each is open."""
    ring = [float(v) for v in range(60)]
    images = [{"id": i, "file_name": f"{i}.png", "height": 6, "width": 8} for i in range(pictures)]
    shapes = [
        {"image_id": i, "category_id": 1, "segmentation": [ring] * 30} for i in range(pictures)
    ]
    document = {
        "images": images,
        "annotations": shapes,
        "categories": [{"id": 1, "name": "cat"}],
    }
    files = {f"images/{i}.png": b"not looked at" for i in range(pictures)}
    files["result.json"] = json.dumps(document).encode()
    with ZipSource(write_zip(path / f"{pictures}.zip", files), Limits()) as source:
        tracemalloc.start()
        reader = open_reader(source)
        in_use, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(reader.ids) == pictures
        assert peak < in_use + 4 * 2**20, "the file must not sit in memory while it is read"
    return in_use


@pytest.mark.slow
def test_a_reader_holds_names_and_nothing_that_grows_with_the_shapes(tmp_path: Path) -> None:
    few, many = held_by_a_reader(tmp_path, 50), held_by_a_reader(tmp_path, 100)
    # A picture's shapes are about 11,000 bytes of JSON here; its names and entry are far less.
    assert (many - few) / 50 < 2000
