import csv
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sats_core.data.readers import ImageFolderReader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import encode, index_mask, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, ReaderContract

PLACES = {"one": "train", "sub/three": "train", "two": "validation", "alone": "train"}
ID2LABEL = json.dumps({"0": "background", "1": "cat", "2": "dog", "255": "void"}).encode()


class ImageFolderContract(ReaderContract):
    kind = ImageFolderReader
    metadata: str

    def packed(self, rows: list[dict[str, str]]) -> bytes:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        files = {f"{PLACES[i]}/{i}.png": encode(picture) for i, picture in PICTURES.items()}
        rows: dict[str, list[dict[str, str]]] = {"train": [], "validation": []}
        for name, label in LABELS.items():
            mask = f"masks/{name}.png"
            files[f"{PLACES[name]}/{mask}"] = index_mask(label)
            row = {"file_name": f"{name}.png", "mask_file_name": mask, "caption": "a cat"}
            rows[PLACES[name]].append(row)
        for split, listed in rows.items():
            files[f"{split}/{self.metadata}"] = self.packed(listed)
        return files | {self.class_file(): ID2LABEL}

    def class_file(self) -> str:
        return "id2label.json"


class TestLines(ImageFolderContract):
    metadata = "metadata.jsonl"

    def packed(self, rows: list[dict[str, str]]) -> bytes:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()


class TestTable(ImageFolderContract):
    metadata = "metadata.csv"

    def packed(self, rows: list[dict[str, str]]) -> bytes:
        out = io.StringIO(newline="")
        table = csv.DictWriter(out, rows[0])
        table.writeheader()
        table.writerows(rows)
        return out.getvalue().encode()


def opened(path: Path, text: bytes, file: str = "metadata.jsonl") -> ImageFolderReader:
    files = {
        "id2label.json": ID2LABEL,
        "a.png": encode(PICTURES["one"]),
        "masks/a.png": index_mask(LABELS["one"]),
        "masks/b.png": index_mask(LABELS["one"]),
        file: text,
    }
    with ZipSource(write_zip(path / "a.zip", files), Limits()) as source:
        reader = open_reader(source)
        assert isinstance(reader, ImageFolderReader)
        for picture_id in reader.ids:
            reader.read(picture_id)
        return reader


def test_the_column_may_be_called_anything(tmp_path: Path) -> None:
    for column in ("mask", "label", "annotation_file_name"):
        row = json.dumps({"file_name": "a.png", column: "masks/a.png", "text": "a"})
        assert opened(tmp_path, row.encode()).ids == ("a",)


def test_a_row_without_mask_is_left_out(tmp_path: Path) -> None:
    rows = b'{"file_name": "a.png", "mask": "masks/a.png"}\n\n{"file_name": "b.png", "mask": null}'
    assert opened(tmp_path, rows).ids == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no picture has a mask"),
        (b"{", "not metadata"),
        (b"[1]", "a line is no object"),
        (b"[" * 100_000, "not metadata"),
        (b'"' + b"x" * 200_000 + b'"', "a line has more than"),
        (b"\xff\xfe", "not metadata"),
        (b'{"mask": "masks/a.png"}', "no `file_name`"),
        (b'{"file_name": 3}', "no `file_name`"),
        (b'{"file_name": "../a.png", "mask": "masks/a.png"}', "no picture has a mask"),
        (b'{"file_name": "a.png", "mask": "/masks/a.png"}', "no picture has a mask"),
        (b'{"file_name": "a.png", "m": "masks/a.png", "n": "masks/b.png"}', "columns m, n"),
        (b'{"file_name": "a.png", "mask": "masks/a.png"}\n' * 2, "listed twice"),
    ],
    ids=range(12),
)
def test_what_is_wrong_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "file"),
    [
        (b"file_name," + b",".join(b"c%d" % i for i in range(101)) + b"\nnope\n", "metadata.csv"),
        (b"file_name,mask\n" + b"nope\n" * 100_001, "metadata.csv"),
        (b"file_name,mask\n" + b"," * 200_000, "metadata.csv"),
        (b"file_name,mask\n" + b'"a\n",' * 1001, "metadata.csv"),
        (b'{"file_name":"x"}\n' * 100_001, "metadata.jsonl"),
        (
            json.dumps({"file_name": "x"} | dict.fromkeys(map(str, range(101)))).encode(),
            "metadata.jsonl",
        ),
    ],
    ids=["header", "rows", "line", "quotes", "lines", "keys"],
)
def test_tables_are_bounded(tmp_path: Path, text: bytes, file: str) -> None:
    with pytest.raises(DatasetError, match=r"more than|too long") as caught:
        opened(tmp_path, text, file)
    assert caught.value.issues[0].file == file


def test_pairs_with_metadata_are_two_layouts(tmp_path: Path) -> None:
    files = TestLines().files() | {"classes.json": ID2LABEL}
    with (
        ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source,
        pytest.raises(DatasetError, match="leave one of them"),
    ):
        open_reader(source)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(
    row=st.dictionaries(st.sampled_from(["file_name", "mask", "a"]), json_values),
    table=st.binary(max_size=40),
)
def test_anything_is_read_or_a_clear_error(tmp_path: Path, row: Any, table: bytes) -> None:
    with suppress(DatasetError):
        opened(tmp_path, json.dumps(row).encode())
    with suppress(DatasetError):
        opened(tmp_path, b"file_name,mask\n" + table, "metadata.csv")
