import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sats_core.data.readers import LabelStudioReader, glance, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import encode, write_zip
from tests.sats_core.data.readers import brushes
from tests.sats_core.data.readers.contract import LABELS, PICTURES, JsonContract

NAMES = {1: "cat", 2: "dog", 255: "void"}
SPLITS = {"train": ("one", "sub/three"), "val": ("two",)}


def region(label: str, value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    kind = "brushlabels" if "rle" in value else "polygonlabels"
    return {
        "original_width": 8,
        "original_height": 6,
        "image_rotation": 0,
        "value": value | {kind: [label]},
        "id": "Dx_aB91ISN",
        "from_name": "tag",
        "to_name": "image",
        "type": kind,
        "origin": "manual",
    } | changes


def annotation(*regions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "completed_by": 1,
        "result": list(regions),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-01-05T10:11:12.131415Z",
        "lead_time": 12.3,
        "result_count": len(regions),
        "import_id": None,
    } | changes


def task(image: str, *annotations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": 3,
        "annotations": list(annotations),
        "file_upload": image,
        "drafts": [],
        "predictions": [{"result": [{"type": "brushlabels", "value": {"rle": []}}]}],
        "data": {"image": f"/data/upload/1/{image}"},
        "meta": {},
        "total_annotations": len(annotations),
        "project": 1,
    } | changes


class LabelStudioContract(JsonContract):
    kind = LabelStudioReader

    def regions(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        files = {f"{i}.png": encode(picture) for i, picture in PICTURES.items()}
        for split, names in SPLITS.items():
            tasks = []
            for name in names:
                label = LABELS[name]
                size = {"original_height": label.shape[0], "original_width": label.shape[1]}
                values = [value for value in np.unique(label).tolist() if value]
                drawn = [one | size for value in values for one in self.regions(label, value)]
                base = name.rpartition("/")[2]
                tasks.append(task(f"0a1b2c3d-{base}.png", annotation(*drawn)))
            text = json.dumps(tasks, ensure_ascii=False)
            files[f"project-1-at-2026-01-05-10-11-{split}.json"] = text.encode()
        return files

    def class_file(self) -> str:
        return "project-1-at-2026-01-05-10-11-train.json"

    def test_without_a_class_list(self, tmp_path: Path) -> None:
        empty = json.dumps([task("one.png", annotation())]).encode()
        files = {"one.png": encode(PICTURES["one"]), "a.json": empty}
        self.refusal(tmp_path, files, "names no class")


class TestBrushes(LabelStudioContract):
    def regions(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        rle = brushes.encode(np.where(label == value, 255, 0).astype(np.uint8))
        return [region(NAMES[value], {"format": "rle", "rle": rle})]


class TestPolygons(LabelStudioContract):
    """Every pixel a polygon of its own, in per cent of the picture."""

    def regions(self, label: np.ndarray, value: int) -> list[dict[str, Any]]:
        height, width = label.shape
        corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
        return [
            region(
                NAMES[value],
                {
                    "points": [
                        [100 * (x + right) / width, 100 * (y + down) / height]
                        for right, down in corners
                    ],
                    "closed": True,
                },
            )
            for y, x in np.argwhere(label == value).tolist()
        ]


SQUARE = {"points": [[12.5, 50 / 3], [50, 50 / 3], [50, 200 / 3], [12.5, 200 / 3]]}


def packed(path: Path, tasks: Any) -> ZipSource:
    text = tasks if isinstance(tasks, bytes) else json.dumps(tasks).encode()
    files = {"a.json": text, "images/a.png": encode(PICTURES["one"])}
    return ZipSource(write_zip(path / "a.zip", files), Limits())


def label_of(path: Path, *regions: Any, **changes: Any) -> np.ndarray:
    with packed(path, [task("a.png", annotation(*regions), **changes)]) as source:
        return open_reader(source).read("images/a").label


def test_the_later_region_is_on_top(tmp_path: Path) -> None:
    label = label_of(tmp_path, region("cat", SQUARE), region("dog", SQUARE))
    assert (label[1:4, 1:4] == 2).all()
    assert (label > 0).sum() == 9
    label = label_of(tmp_path, region("dog", SQUARE), region("cat", SQUARE))
    assert (label[1:4, 1:4] == 1).all()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"file_upload": "a.png"}, True),
        ({"file_upload": "deadbeef-a.png"}, True),
        ({"file_upload": None, "data": {"image": "/data/upload/1/deadbeef-a.png"}}, True),
        ({"file_upload": None, "data": {"image": "s3://bucket/way/a.png"}}, True),
        ({"file_upload": None, "data": {"image": "/data/local-files/?d=way/a.png"}}, False),
        ({"file_upload": None, "data": {"photo": "http://b/a.png?x=1", "note": "b"}}, True),
        ({"file_upload": None, "data": {"image": "../../a.png"}}, True),
        ({"file_upload": None, "data": {"image": "/a%2Epng"}}, True),
    ],
)
def test_a_picture_is_found_by_the_end_of_its_address(
    tmp_path: Path, changes: dict[str, Any], found: bool
) -> None:
    if found:
        assert label_of(tmp_path, region("cat", SQUARE), **changes).any()
        return
    with pytest.raises(DatasetError):
        label_of(tmp_path, region("cat", SQUARE), **changes)


def test_the_ground_truth_counts_else_the_first_that_was_not_cancelled(tmp_path: Path) -> None:
    cancelled = annotation(region("cat", SQUARE), was_cancelled=True)
    dog, bird = annotation(region("dog", SQUARE)), annotation(region("bird", SQUARE))
    truth = annotation(region("cow", SQUARE), ground_truth=True)
    for annotations, counts in [((cancelled, dog, bird), "dog"), ((dog, truth, bird), "cow")]:
        with packed(tmp_path, [task("a.png", *annotations)]) as source:
            reader = open_reader(source)
            assert reader.classes == (counts,)
            assert reader.shown(reader.label("images/a")) == (counts,)


def test_a_task_without_annotation_is_left_out_and_an_empty_one_is_background(
    tmp_path: Path,
) -> None:
    tasks = [
        task("a.png", annotation(region("cat", SQUARE))),
        task("b.png"),
        task("c.png", annotation()),
    ]
    files = {f"{name}.png": encode(PICTURES["one"]) for name in "abc"}
    files["a.json"] = json.dumps(tasks).encode()
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        reader = open_reader(source)
        assert reader.ids == ("a", "c")
        assert reader.unpaired == ("b.png",)
        assert not reader.read("c").label.any()


def test_boxes_are_left_out_with_a_warning(tmp_path: Path) -> None:
    box = region("cat", {"x": 1, "y": 1, "width": 3, "height": 3}, type="rectanglelabels")
    tasks = [task("a.png", annotation(box, box, region("cat", SQUARE)))]
    with packed(tmp_path, tasks) as source:
        assert open_reader(source).warnings == [
            "Label Studio: 2 results of type rectanglelabels are left out: only brushes and "
            "polygons with a label are read"
        ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": SQUARE | {"polygonlabels": ["cat", "dog"]}}, "a pixel has one class"),
        ({"value": SQUARE | {"polygonlabels": "cat"}}, "a pixel has one class"),
        ({"value": SQUARE | {"polygonlabels": [3]}}, "1 to 1000"),
        ({"value": {"rle": [256], "brushlabels": ["cat"]}}, "range"),
        ({"value": {"rle": [0.5], "brushlabels": ["cat"]}}, "interpreted as an integer"),
        ({"value": {"rle": 9, "brushlabels": ["cat"]}}, "list of bytes"),
        ({"value": {"rle": [], "brushlabels": ["cat"]}}, "53 bits"),
        ({"value": {"points": [[1, 2, 3]], "polygonlabels": ["cat"]}}, "two numbers"),
        ({"value": {"points": [["1", 2]] * 3, "polygonlabels": ["cat"]}}, "finite numbers"),
        ({"value": {"points": [[1, 2]], "polygonlabels": ["cat"]}}, "three pairs"),
        ({"image_rotation": 90}, "rotated"),
        ({"original_width": 9}, "8 x 6"),
        ({"original_width": 10**9, "original_height": 10**9}, "more than"),
        ({"original_width": None}, "no size"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        label_of(tmp_path, region("cat", SQUARE) | changes)
    assert caught.value.issues[0].file == "a.json"


START = b'[{"id": 1, "annotations": [{"id": 1, "result": [{"value": '


@pytest.mark.parametrize(
    "text",
    [
        START + b'{"rle": [' + b"0," * 4_300_000 + b"0]}}]}]}]",
        START + b"[" * 100_000,
        START + b'"' + b"x" * 30_000_000 + b'"}]}]}]',
        START,
        b'[{"annotations": 1}, 2]',
        b'[{"annotations": [3]}]',
        b'[{"annotations": [{"result": [4]}]}]',
        b'[{"annotations": [{"result": []}], "data": {"image": 5}}]',
        b'[{"annotations": [], "meta": ' + b"[" * 1000,
    ],
    ids=["numbers", "nested", "text", "cut", "task", "annotation", "region", "unnamed", "meta"],
)
def test_hostile_json_is_refused(tmp_path: Path, text: bytes) -> None:
    with (
        packed(tmp_path, text) as source,
        pytest.raises(DatasetError, match="not the JSON export") as caught,
    ):
        open_reader(source)
    assert caught.value.issues[0].file == "a.json"


def test_a_picture_in_two_tasks_is_named(tmp_path: Path) -> None:
    one = task("a.png", annotation(region("cat", SQUARE)))
    with (
        packed(tmp_path, [one, one]) as source,
        pytest.raises(DatasetError, match=r"listed twice: as a\.png in a\.json"),
    ):
        open_reader(source)


def test_a_glance_parses_nothing(tmp_path: Path) -> None:
    with packed(tmp_path, START) as source:
        assert glance(source) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(
    where=st.sampled_from(["task", "annotation", "region", "value"]),
    key=st.sampled_from(
        [
            "annotations",
            "result",
            "value",
            "rle",
            "points",
            "brushlabels",
            "data",
            "file_upload",
            "original_width",
            "was_cancelled",
            "type",
            "image_rotation",
        ]
    ),
    value=json_values,
)
def test_any_value_anywhere_is_read_or_a_clear_error(
    tmp_path: Path, where: str, key: str, value: Any
) -> None:
    changes = {name: {key: value} if name == where else {} for name in ("task", "annotation")}
    shape = region("cat", SQUARE)
    if where == "region":
        shape |= {key: value}
    if where == "value":
        shape["value"] |= {key: value}
    tasks = [task("a.png", annotation(shape, **changes["annotation"]), **changes["task"])]
    with packed(tmp_path, tasks) as source, suppress(DatasetError):
        reader = open_reader(source)
        for picture_id in reader.ids:
            reader.read(picture_id)


def test_a_picture_that_is_not_there_gets_no_other_ones_file(tmp_path: Path) -> None:
    tasks = [
        task("cam1/0001.png", annotation(region("cat", SQUARE))),
        task("cam2/0001.png", annotation()),
    ]
    files = {"a.json": json.dumps(tasks).encode(), "cam2/0001.png": encode(PICTURES["one"])}
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        reader = open_reader(source)
        assert reader.ids == ("cam2/0001",)
        assert not reader.label("cam2/0001").any()


def test_two_uploads_that_may_be_one_file_are_refused_by_name(tmp_path: Path) -> None:
    tasks = [
        task(f"/data/upload/1/{digits}-a.png", annotation(region("cat", SQUARE)))
        for digits in ("0a1b2c3d", "4e5f6a7b")
    ]
    named = "as /data/upload/1/0a1b2c3d-a.png in a.json, and as /data/upload/1/4e5f6a7b-a.png"
    with packed(tmp_path, tasks) as source, pytest.raises(DatasetError, match=named):
        open_reader(source)


def test_all_its_json_files_share_one_bound(tmp_path: Path) -> None:
    text = json.dumps([task("a.png", annotation(region("cat", SQUARE)))]).encode()
    files = {"a.json": text, "b.json": b"[]", "a.png": encode(PICTURES["one"])}
    path = write_zip(tmp_path / "a.zip", files)
    with (
        ZipSource(path, Limits(max_annotation_bytes=len(text) + 1)) as source,
        pytest.raises(DatasetError, match="bytes together"),
    ):
        open_reader(source)
    with ZipSource(path, Limits(max_annotation_bytes=len(text) + 2)) as source:
        assert open_reader(source).ids == ("a",)
