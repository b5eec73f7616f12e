import json
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sats_core.data.readers import PairsReader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import encode, index_mask, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, ReaderContract

PLACES = {"one": "train", "sub/three": "train", "two": "val", "alone": "val"}
COLOURS = {0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 128, 255), 255: (224, 224, 192)}


class PairsContract(ReaderContract):
    kind = PairsReader
    listed: ClassVar[Any]

    def mask(self, label: np.ndarray) -> bytes:
        return index_mask(label)

    def files(self) -> dict[str, bytes]:
        files = {f"images/{PLACES[i]}/{i}.png": encode(p) for i, p in PICTURES.items()}
        files |= {f"masks/{PLACES[i]}/{i}.png": self.mask(x) for i, x in LABELS.items()}
        return files | {self.class_file(): json.dumps(self.listed).encode()}

    def class_file(self) -> str:
        return "classes.json"


class TestIndexToName(PairsContract):
    listed: ClassVar[Any] = {"0": "background", "1": "cat", "2": "dog"}


class TestNameToIndex(PairsContract):
    listed: ClassVar[Any] = {"cat": 1, "dog": 2}


class TestNamesInOrder(PairsContract):
    listed: ClassVar[Any] = ["background", "cat", "dog"]


class TestEntriesWithColours(PairsContract):
    listed: ClassVar[Any] = [
        {"index": 1, "name": "cat", "color": "#ff0000"},
        {"index": 2, "name": "dog", "colour": [0, 128, 255]},
    ]

    def mask(self, label: np.ndarray) -> bytes:
        rgb = np.array([[COLOURS[int(v)] for v in row] for row in label], dtype=np.uint8)
        return encode(Image.fromarray(rgb))


def opened(path: Any, classes: bytes) -> PairsReader:
    files = TestIndexToName().files() | {"classes.json": classes}
    with ZipSource(write_zip(path / "a.zip", files), Limits()) as source:
        reader = open_reader(source)
    assert isinstance(reader, PairsReader)
    return reader


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"3", "neither an object nor a list"),
        (b"[1]", "entry 0 has no `name`"),
        (b'{"cat": -1}', "is no index"),
        (b'{"cat": true}', "is no index"),
        (b'[{"name": "cat", "color": "red"}]', "is no colour"),
        (b'[{"name": "cat", "color": [1, 2]}]', "is no colour"),
        (b'{"cat": 1, "dog": 1}', "index 1 is there twice"),
        (b"{}", "names no class"),
        (b'{"cat": 300}', "indices run from 0 to 254"),
    ],
)
def test_a_wrong_class_list_is_named(tmp_path: Any, classes: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path, classes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(50))
@given(listed=json_values)
def test_any_json_is_a_class_list_or_a_clear_error(tmp_path: Any, listed: Any) -> None:
    with suppress(DatasetError):
        assert opened(tmp_path, json.dumps(listed).encode()).classes


def test_a_picture_in_two_splits_is_named(tmp_path: Any) -> None:
    files = TestIndexToName().files()
    files["images/val/one.png"] = files["images/train/one.png"]
    with (
        ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source,
        pytest.raises(DatasetError, match="same name but for the suffix or the split"),
    ):
        open_reader(source)


def test_masks_without_a_class_list_are_named(tmp_path: Any) -> None:
    files = TestIndexToName().files()
    del files["classes.json"]
    with (
        ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source,
        pytest.raises(DatasetError, match=r"classes\.json is missing"),
    ):
        open_reader(source)
