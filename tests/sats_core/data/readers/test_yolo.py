from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sats_core.data.readers import YoloReader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import encode, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, ReaderContract

PLACES = {"one": "train", "sub/three": "train", "two": "val", "alone": "train"}
NUMBERS = {1: 0, 2: 1, 255: 2}


def lines(label: np.ndarray) -> str:
    """Every pixel a polygon of its own, in parts of width and height."""
    height, width = label.shape
    written = []
    for y, x in np.argwhere(label).tolist():
        corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)]
        points = " ".join(f"{a / width:.6f} {b / height:.6f}" for a, b in corners)
        written.append(f"{NUMBERS[label[y, x]]} {points}\n")
    return "".join(written)


class YoloContract(ReaderContract):
    kind = YoloReader
    yaml: str

    def place(self, kind: str, name: str) -> str:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        files = {f"{self.place('images', i)}.png": encode(p) for i, p in PICTURES.items()}
        for name, label in LABELS.items():
            files[f"{self.place('labels', name)}.txt"] = lines(label).encode()
        return files | {self.class_file(): self.yaml.encode()}

    def class_file(self) -> str:
        return "data.yaml"

    def test_without_a_class_list(self, tmp_path: Path) -> None:
        for text in ("nc: 0", "names: []", "names: 3", "names: [{a: b}]", "names: {x: cat}", "- a"):
            files = self.files() | {self.class_file(): text.encode()}
            self.refusal(tmp_path, files, r"`names`|names no class")

    def test_without_any_pair(self, tmp_path: Path) -> None:
        files = {n: d for n, d in self.files().items() if not n.endswith(".png")}
        self.refusal(tmp_path, files, "no picture has an annotation")

    def test_sizes_that_differ_are_named(self) -> None:  # type: ignore[override]
        """They cannot: a polygon is in parts of its picture."""

    def test_a_broken_mask_is_named(self, tmp_path: Path) -> None:
        name = f"{self.place('labels', 'one')}.txt"
        with self._packed("zip", tmp_path, self.files() | {name: b"0 0.1 0.2 0.3"}) as source:
            with pytest.raises(DatasetError, match="three pairs") as caught:
                open_reader(source).read("one")
            assert caught.value.issues[0].file == name


class TestUltralytics(YoloContract):
    yaml = (
        "path: ../my\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n  2: void\n"
    )

    def place(self, kind: str, name: str) -> str:
        return f"{kind}/{PLACES[name]}/{name}"


class TestRoboflow(YoloContract):
    yaml = (
        "train: ../train/images\nval: ../valid/images\n\nnc: 3\nnames: ['cat', 'dog', 'void']\n\n"
        "roboflow:\n  workspace: my\n  license: CC BY 4.0\n"
    )

    def place(self, kind: str, name: str) -> str:
        return f"{PLACES[name].replace('val', 'valid')}/{kind}/{name}"


def label_of(path: Path, text: bytes, yaml: bytes = b"names: [cat, dog]") -> np.ndarray:
    files = {"images/a.png": encode(PICTURES["one"]), "labels/a.txt": text, "data.yaml": yaml}
    with ZipSource(write_zip(path / "a.zip", files), Limits()) as source:
        return open_reader(source).label("a")


def test_the_later_line_is_on_top_and_an_empty_file_is_background(tmp_path: Path) -> None:
    label = label_of(tmp_path, b"0 0 0 1 0 1 1 0 1\n\n1 0 0 .5 0 .5 1 0 1\r\n")
    assert (label[:, :4] == 2).all()
    assert (label[:, 4:] == 1).all()
    assert not label_of(tmp_path, b"").any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"2 0 0 1 0 1 1", "line 1 is of no class"),
        (b"-1 0 0 1 0 1 1", "line 1 is of no class"),
        (b"\n0 .5 .5 .1 .1", "line 2 is a box"),
        (b"0 0 0 1 0 1 1 1", "three pairs"),
        (b"0 0 0 1 0 1 nan", "finite"),
        (b"0 0 0 1 0 1 x", "is not `class"),
        (b"0 " + b"0 " * 260_000, "more than 250000 numbers"),
        (b"\n" * (5 * 2**20), "larger than"),
    ],
    ids=range(8),
)
def test_what_is_wrong_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        label_of(tmp_path, text)
    assert caught.value.issues[0].file == "labels/a.txt"


@pytest.mark.parametrize(
    "yaml",
    [
        b"!!python/object/apply:os.system ['true']",
        b"names: [a",
        b"\xff\xfe\x00",
        b"[" * 5000,
        b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nnames: *c",
        b"names: {? [a, b] : c}",
        b"x" * 200_000,
        "names: {²: cat}".encode(),
        b"names: {0: cat, 00: dog}",
        "names: {٠: cat, 0: dog}".encode(),
    ],
    ids=range(10),
)
def test_hostile_yaml_is_refused(tmp_path: Path, yaml: bytes) -> None:
    with pytest.raises(DatasetError) as caught:
        label_of(tmp_path, b"", yaml)
    assert caught.value.issues[0].file == "data.yaml"


def test_a_tag_makes_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made"
    label_of(tmp_path, b"", f"names: !!python/object/apply:os.mkdir ['{made}']".encode())
    assert not made.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(
    text=st.text(alphabet="0123456789. -eain\n", max_size=40).map(str.encode)
    | st.binary(max_size=20),
    names=st.text(alphabet="[]{}:,&*!ab01 \n-'", max_size=20),
)
def test_anything_is_read_or_a_clear_error(tmp_path: Path, text: Any, names: str) -> None:
    for yaml in (b"names: [cat, dog]", f"names: {names}".encode()):
        with suppress(DatasetError):
            label_of(tmp_path, text, yaml)
