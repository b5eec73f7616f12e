"""What a stranger's COCO file may cost."""

import json
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sats_core.data.readers import CocoReader, glance, open_reader
from sats_core.data.readers.coco_shapes import MAX_POINTS, ShapeError, shape_runs
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.sats_core.data.drawn import encode, write_zip

MIB = 2**20
CATEGORIES = b'"categories": [{"id": 1, "name": "cat"}]'
IMAGE = b'"images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}]'


def packed(path: Path, text: bytes, **limits: int) -> ZipSource:
    files = {"result.json": text, "a.png": encode(Image.new("RGB", (8, 6)))}
    return ZipSource(write_zip(path / "a.zip", files), Limits(**limits))


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """Check how much more memory the block takes at its peak."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < megabytes * MIB, f"{peak / MIB:.0f} MiB"


@pytest.mark.parametrize(
    "segmentation",
    [
        b"[[" + b"0," * 3_000_000 + b"0]]",
        b'{"size": [6, 8], "counts": [' + b"9999," * 1_000_000 + b"0]}",
        b"[" + b"[]," * 2_000_000 + b"[]]",
        b"[" * 500_000 + b"]" * 500_000,
        b'{"size": [6, 8], "counts": "' + b"0" * 30_000_000 + b'"}',
        b"[[" + b"1" * 30_000_000 + b"]]",
    ],
    ids=["polygon", "runs", "rings", "nested", "text", "digits"],
)
def test_an_entry_is_refused_before_it_is_built(tmp_path: Path, segmentation: bytes) -> None:
    shape = b'{"image_id": 1, "category_id": 1, "segmentation": ' + segmentation + b"}"
    text = b"{" + IMAGE + b"," + CATEGORIES + b', "annotations": [' + shape + b"]}"
    with (
        packed(tmp_path, text) as source,
        at_most(48),
        pytest.raises(DatasetError, match="not COCO JSON") as caught,
    ):
        open_reader(source)
    assert caught.value.issues[0].file == "result.json"


def test_the_bound_of_a_shape_is_one_number(tmp_path: Path) -> None:
    shape = b'{"image_id": 1, "category_id": 1, "segmentation": [[' + b"0," * 300_000 + b"0]]}"
    text = b"{" + IMAGE + b"," + CATEGORIES + b', "annotations": [' + shape + b"]}"
    with packed(tmp_path, text) as source, pytest.raises(DatasetError) as caught:
        open_reader(source)
    assert f"more than {MAX_POINTS} numbers" in str(caught.value)
    page = Path(__file__).parents[4] / "docs" / "own-classes.md"
    assert f"{MAX_POINTS:,} numbers" in page.read_text()


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        ({"id": 5, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4]]}, "annotation 5"),
        ({"category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4]]}, "an annotation without an id"),
        ({"file_name": "m.png", "segments_info": []}, "the annotation of mask m.png"),
        ({"id": "\ud800", "category_id": 1, "segmentation": []}, "annotation ?"),
    ],
)
def test_an_annotation_of_no_picture_is_named(
    tmp_path: Path, annotation: dict[str, Any], named: str
) -> None:
    text = f'{{{IMAGE.decode()}, {CATEGORIES.decode()}, "annotations": [%s]}}'
    stray = json.dumps(annotation | {"image_id": 2})
    with (
        packed(tmp_path, (text % stray).encode()) as source,
        pytest.raises(DatasetError) as caught,
    ):
        open_reader(source)
    (issue,) = caught.value.issues
    assert issue.reason == f"{named}: its `image_id` 2 is not in `images`"
    assert issue.file == "result.json"


def test_too_many_categories_are_refused(tmp_path: Path) -> None:
    many = [{"id": number, "name": f"class {number}"} for number in range(20_000)]
    document = {"images": [], "annotations": [], "categories": many}
    text = json.dumps(document).encode()
    with packed(tmp_path, text) as source, pytest.raises(DatasetError, match="categories"):
        open_reader(source)


def test_shapes_are_painted_one_after_another(tmp_path: Path) -> None:
    height, width, count = 3000, 4000, 40
    shapes = []
    for number in range(count):
        mask = np.zeros((height, width), dtype=np.uint8, order="F")
        mask[number:, number:] = 1
        counts = coco.encode(mask)["counts"].decode()
        segmentation = {"size": [height, width], "counts": counts}
        shapes.append({"image_id": 1, "category_id": number % 2, "segmentation": segmentation})
    document: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png", "height": height, "width": width}],
        "annotations": shapes,
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    with packed(tmp_path, json.dumps(document).encode()) as source:
        reader = open_reader(source)
        with at_most(150):  # forty masks are 480
            label = reader.label("a")
    corner = np.diagonal(label)[: count + 1].tolist()
    assert corner == [1 + number % 2 for number in range(count)] + [2]


def test_a_long_outline_is_refused_before_it_is_drawn() -> None:
    zigzag = [float(v) for number in range(2000) for v in (7000 * (number % 2), number % 7)]
    with pytest.raises(ShapeError, match="outline"):
        shape_runs([zigzag], 7000, 7000)


def test_noise_in_a_panoptic_mask_costs_a_look_a_pixel(tmp_path: Path) -> None:
    numbers = np.arange(1, 250 * 160 + 1).reshape(160, 250)
    segments = [{"id": int(number), "category_id": 1} for number in numbers.flat]
    parts = [numbers % 256, numbers // 256 % 256, numbers // 65536]
    mask = BytesIO()
    Image.fromarray(np.stack(parts, axis=-1).astype(np.uint8)).save(mask, "PNG")
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 160, "width": 250}],
        "annotations": [{"image_id": 1, "file_name": "m.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    files = {
        "result.json": json.dumps(document).encode(),
        "a.png": encode(Image.new("RGB", (250, 160))),
        "m.png": mask.getvalue(),
    }
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        assert (open_reader(source).label("a") == 1).all()


def test_a_reader_connects_to_its_index_twice_however_many_pictures(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    document = {
        "images": [
            {"id": number, "file_name": name, "height": 6, "width": 8}
            for number, name in enumerate(names)
        ],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    picture = encode(Image.new("RGB", (8, 6)))
    files = {"result.json": json.dumps(document).encode()} | dict.fromkeys(names, picture)
    connected: list[str] = []
    sys.addaudithook(
        lambda event, values: connected.append(values[0]) if event == "sqlite3.connect" else None
    )
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        reader = open_reader(source)
        for picture_id in reader.ids:
            reader.read(picture_id)
    assert sum("sats-scratch-index-" in str(path) for path in connected) <= 2


def test_a_glance_parses_nothing(tmp_path: Path) -> None:
    with packed(tmp_path, b"{" + b"x" * 1000) as source:
        assert glance(source) is None
        with pytest.raises(DatasetError, match="not COCO JSON"):
            open_reader(source)


@pytest.mark.parametrize(
    ("text", "limits", "message"),
    [
        (b"", {}, "does not begin"),
        (b"[1, 2]", {}, "does not begin"),
        (b"{" + b" " * 1000 + b"}", {"max_annotation_bytes": 1000}, "1000 bytes together"),
    ],
)
def test_a_glance_sees(tmp_path: Path, text: bytes, limits: dict[str, int], message: str) -> None:
    with packed(tmp_path, text, **limits) as source, pytest.raises(DatasetError, match=message):
        glance(source)


def test_a_glance_sees_that_there_is_no_picture(tmp_path: Path) -> None:
    with ZipSource(write_zip(tmp_path / "a.zip", {"a.json": b"{}"}), Limits()) as source:
        assert not CocoReader.recognises(source)
        with pytest.raises(DatasetError, match="no picture"):
            glance(source)
