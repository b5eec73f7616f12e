from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from sats_core.classes import voc_colour
from sats_core.data.readers import EncodedPicture, VocReader, open_reader, write_voc_zip
from sats_core.data.readers.class_list import ClassList, parse_classes, parse_labelmap
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import encode, index_mask, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, Pixels, ReaderContract

INDEXED = b"0 background\r\n3 cat\r\n7 dog\r\n"
LABELMAP = b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:10,20,30::\ndog:0,0,200::\n"
VOC_INDEX = {0: 0, 1: 3, 2: 7, 255: 255}
CVAT_COLOUR = {0: (0, 0, 0), 1: (10, 20, 30), 2: (0, 0, 200), 255: (224, 224, 192)}


def translated(label: Pixels, table: dict[int, object]) -> Pixels:
    return np.array([[table[int(v)] for v in row] for row in label], dtype=np.uint8)


class VocContract(ReaderContract):
    kind = VocReader

    def mask(self, label: Pixels) -> bytes:
        raise NotImplementedError

    def class_list(self) -> bytes:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        files = {f"JPEGImages/{i}.png": encode(image) for i, image in PICTURES.items()}
        files |= {f"SegmentationClass/{i}.png": self.mask(x) for i, x in LABELS.items()}
        files["ImageSets/Segmentation/train.txt"] = b"one\nsub/three\nunknown\n"
        files["ImageSets/Segmentation/val.txt"] = b'"two"\r\nalone\r\n\r\n'
        files["ImageSets/Segmentation/empty.txt"] = b"unknown\n"
        return files | {self.class_file(): self.class_list()}


class TestIndexMasks(VocContract):
    def class_file(self) -> str:
        return "classes.txt"

    def class_list(self) -> bytes:
        return INDEXED

    def mask(self, label: Pixels) -> bytes:
        return index_mask(translated(label, VOC_INDEX))


class TestPaletteMasks(TestIndexMasks):
    def mask(self, label: Pixels) -> bytes:
        image = Image.fromarray(translated(label, VOC_INDEX))
        image.putpalette([p for i in range(256) for p in voc_colour(i)])
        return encode(image)


class TestVocColourMasks(TestIndexMasks):
    def mask(self, label: Pixels) -> bytes:
        table = {v: voc_colour(i) for v, i in VOC_INDEX.items()} | {255: (224, 224, 192)}
        return encode(Image.fromarray(translated(label, table)))


class TestCvatColourMasks(VocContract):
    def class_file(self) -> str:
        return "labelmap.txt"

    def class_list(self) -> bytes:
        return LABELMAP

    def mask(self, label: Pixels) -> bytes:
        return encode(Image.fromarray(translated(label, CVAT_COLOUR)))


class TestCvatPaletteMasks(TestCvatColourMasks):
    def mask(self, label: Pixels) -> bytes:
        image = Image.fromarray(translated(label, CVAT_COLOUR))
        return encode(image.quantize(16))


# --- class lists


def test_bare_names_are_indices_in_order() -> None:
    listed = parse_classes("\ufeff__background__\ncat\ntraffic light\n\n".encode(), "classes.txt")
    assert listed.classes == ("cat", "traffic light")
    assert listed.by_index == {0: 0, 1: 1, 2: 2, 255: 255}


def test_the_index_zero_is_background_whatever_its_name() -> None:
    assert parse_classes(b"0 null\n2 skin\n1 hair", "c").classes == ("skin", "hair")
    assert parse_classes(b"1 cat\n255 void", "c").classes == ("cat",)


def test_a_label_may_have_a_colon() -> None:
    assert parse_labelmap(b"a:b:1,2,3::\nc:4,5,6", "l").classes == ("a:b", "c")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"\xff\xfe", "UTF-8"),
        (b"cat\ndog", "first name is index 0"),
        (b"background\n\ncat", "line 2 is empty"),
        (b"0 background", "no class"),
        (b"0 background\n1 cat\ndog", "'dog' is not"),
        (b"1 cat\n1 dog", "index 1 is there twice"),
        (b"1 cat\n2 cat", "class cat is there twice"),
        (b"1 cat\n300 dog", "indices run from 0 to 254"),
        (b"1 cat\n2 Background", "background has index 0"),
        (b"1 " + b"x" * 201, "1 to 200"),
        (b"1 c\x00t", "printable"),
        (b"background\n" + b"\n".join(b"c%d" % i for i in range(255)), "255 classes"),
        (b"1 " + b"x" * 2**20, "at most 1048576 bytes"),
    ],
)
def test_class_lists_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        parse_classes(data, "classes.txt")
    assert caught.value.issues[0].file == "classes.txt"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cat", "is not `label"),
        (b"cat:::", "is not `label"),
        (b"cat:1,2,300::", "is not `label"),
        (b"cat:1,2,3::\ndog:1,2,3::", "twice"),
        (b"# only a comment", "no class"),
        (b"background:0,0,0::", "no class"),
    ],
)
def test_label_maps_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        parse_labelmap(data, "labelmap.txt")


def test_254_classes_fit() -> None:
    lines = "\n".join(f"{i} c{i}" for i in range(255))
    assert len(parse_classes(lines.encode(), "c").classes) == 254


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda t: t.encode("utf-8", "ignore")))
def test_any_bytes_are_a_class_list_or_refused(data: bytes) -> None:
    for parse in (parse_classes, parse_labelmap):
        for start in (b"", b"background\n", b"1 a\n", b"a:1,2,3::\n"):
            try:
                listed = parse(start + data, "list")
            except DatasetError:
                continue
            assert isinstance(listed, ClassList)
            assert 1 <= len(listed.classes) <= 254
            assert len(set(listed.classes)) == len(listed.classes)


# --- structure and masks


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "the data set is empty"),
        ({"a/b": b""}, "none of the layouts"),
        ({"JPEGImages/a.jpg": b""}, "no class list"),
        ({"JPEGImages/a.jpg": b"", "classes.txt": b"1 a"}, "no files in SegmentationClass/"),
        ({"SegmentationClass/a.png": b"", "classes.txt": b"1 a"}, "no files in JPEGImages/"),
        (
            {"JPEGImages/a.jpg": b"", "SegmentationClass/b.png": b"", "classes.txt": b"1 a"},
            "no mask for JPEGImages/a.jpg",
        ),
        (
            {
                "JPEGImages/a.jpg": b"",
                "JPEGImages/a.PNG": b"",
                "SegmentationClass/a.png": b"",
                "classes.txt": b"1 a",
            },
            "same name but for the suffix",
        ),
        (
            {
                "JPEGImages/a.jpg": b"",
                "SegmentationClass/a.png": b"",
                "classes.txt": b"1 a",
                "ImageSets/Segmentation/val.txt": b"\xff",
            },
            "a split is UTF-8",
        ),
        (
            {
                "JPEGImages/a.jpg": b"",
                "SegmentationClass/a.png": b"",
                "classes.txt": b"1 a",
                "ImageSets/Segmentation/val.txt": b"b\nc\n",
            },
            "names no picture that is there: 'b'",
        ),
        *(
            (
                {
                    "JPEGImages/a.jpg": b"",
                    "JPEGImages/b.1.jpg": b"",
                    "SegmentationClass/a.png": b"",
                    "classes.txt": b"1 a",
                    "ImageSets/Segmentation/Validation.txt": listed,
                },
                "has a mask: JPEGImages/b.1.jpg is there, SegmentationClass/b.1.png is missing",
            )
            for listed in (b"gone\nb.1\n", b"b.1.jpg\n")
        ),
    ],
)
def test_the_first_missing_thing_is_named(
    files: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    with (
        ZipSource(write_zip(tmp_path / "set.zip", files), Limits()) as source,
        pytest.raises(DatasetError, match=message),
    ):
        open_reader(source)


@pytest.mark.parametrize(
    ("mask", "class_list", "message"),
    [
        (index_mask([[0, 9]]), ("classes.txt", b"1 a"), "index 9 is not in the class list .50.0%"),
        (
            encode(Image.fromarray(np.array([[0, 300]], dtype=np.uint16))),
            ("classes.txt", b"1 a"),
            "index 300",
        ),
        (
            encode(Image.new("RGB", (2, 1), (7, 8, 9))),
            ("labelmap.txt", b"a:1,2,3::"),
            "colour 7,8,9",
        ),
    ],
)
def test_a_mask_with_something_unknown(
    mask: bytes, class_list: tuple[str, bytes], message: str, tmp_path: Path
) -> None:
    files = {
        "JPEGImages/a.png": encode(Image.new("RGB", (2, 1))),
        "SegmentationClass/a.png": mask,
        class_list[0]: class_list[1],
    }
    with (
        ZipSource(write_zip(tmp_path / "set.zip", files), Limits()) as source,
        pytest.raises(DatasetError, match=message) as caught,
    ):
        open_reader(source).read("a")
    assert caught.value.issues[0].file == "SegmentationClass/a.png"


# --- writing


_NAME = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=20)
_LABEL = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.sampled_from([0, 1, 2, 255]),
)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    labels=st.dictionaries(_NAME, _LABEL, min_size=1, max_size=4),
    classes=st.lists(
        _NAME.filter(lambda n: n.lower() != "background"), min_size=2, max_size=2, unique=True
    ),
)
def test_what_is_written_is_read_back(
    labels: dict[str, Pixels], classes: list[str], tmp_path: Path
) -> None:
    items = [
        EncodedPicture(i, ".png", encode(Image.new("RGB", x.shape[::-1], (1, 2, 3))), x)
        for i, x in labels.items()
    ]
    first, again = tmp_path / "first.zip", tmp_path / "again.zip"
    assert write_voc_zip(first, items, classes) == len(labels)
    write_voc_zip(again, iter(items), classes)
    assert first.read_bytes() == again.read_bytes()
    with ZipSource(first, Limits()) as source:
        reader = open_reader(source)
        assert reader.classes == tuple(classes)
        assert reader.ids == tuple(sorted(labels))
        for item in items:
            np.testing.assert_array_equal(reader.read(item.id).label, item.label)
            assert reader.encoded(item.id).data == item.data


def test_splits_may_name_files_and_say_what_is_not_there(tmp_path: Path) -> None:
    files = {f"JPEGImages/{name}.jpg": b"" for name in "ab"}
    files |= {f"SegmentationClass/{name}.png": b"" for name in "ab"} | {"classes.txt": b"1 a"}
    files["ImageSets/Segmentation/train.txt"] = b"a.jpg\nc.jpg\n"
    files["ImageSets/Segmentation/val.txt"] = b"b\n"
    with ZipSource(write_zip(tmp_path / "set.zip", files), Limits()) as source:
        reader = open_reader(source)
    assert reader.splits == {"train": ("a",), "val": ("b",)}
    assert reader.missing == {"train": ("c.jpg",)}


def test_splits_are_known_as_cvat_writes_them(tmp_path: Path) -> None:
    files = {f"JPEGImages/{name}.jpg": b"" for name in "abcd"}
    files |= {f"SegmentationClass/{name}.png": b"" for name in "abcd"} | {"classes.txt": b"1 a"}
    for split, listed in {
        "Train": b"a\n",
        "Validation": b"b\n",
        "Test": b"c\n",
        "Mine": b"d",
    }.items():
        files[f"ImageSets/Segmentation/{split}.txt"] = listed
    files["ImageSets/Segmentation/valid.txt"] = b"b\nd\nnone\n"
    with ZipSource(write_zip(tmp_path / "set.zip", files), Limits()) as source:
        reader = open_reader(source)
    assert reader.splits == {"train": ("a",), "val": ("b", "d"), "test": ("c",), "Mine": ("d",)}
    assert reader.missing == {"val": ("none",)}
