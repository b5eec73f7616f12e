import io
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import XMLGenerator, quoteattr

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sats_core.data.readers import CvatReader, glance, open_reader, write_voc_zip
from sats_core.data.readers.cvat_parsing import MAX_TAG, cvat_says
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import encode, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, ReaderContract

NAMES = {1: "cat", 2: "dog", 255: "void"}
SUBSETS = {"one": "Train", "sub/three": "Train", "two": "Validation", "alone": "Train"}


def element(xml: XMLGenerator, tag: str, text: str) -> None:
    xml.startElement(tag, {})
    xml.characters(text)
    xml.endElement(tag)


def exported(images: list[tuple[str, dict[str, str], list[tuple[str, dict[str, str]]]]]) -> bytes:
    """Write the XML of a project as CVAT does: `images` are names, attributes and shapes."""
    out = io.StringIO()
    xml = XMLGenerator(out, "utf-8")
    xml.startDocument()
    xml.startElement("annotations", {})
    element(xml, "version", "1.1")
    for tag in ("meta", "project", "labels"):
        xml.startElement(tag, {})
    for name in NAMES.values():
        xml.startElement("label", {})
        element(xml, "name", name)
        element(xml, "color", "#fa3253")
        element(xml, "type", "any")
        xml.startElement("attributes", {})
        xml.endElement("attributes")
        xml.endElement("label")
    xml.endElement("labels")
    element(xml, "subsets", "Train\nValidation")
    xml.endElement("project")
    element(xml, "dumped", "2026-01-05 10:11:12.131415+00:00")
    xml.endElement("meta")
    for number, (name, values, shapes) in enumerate(images):
        xml.startElement("image", {"id": str(number), "name": name, **values})
        for tag, drawn in shapes:
            xml.startElement(tag, {"source": "manual", "occluded": "0", **drawn})
            xml.endElement(tag)
        xml.endElement("image")
    xml.endElement("annotations")
    xml.endDocument()
    return out.getvalue().encode()


def mask(label: np.ndarray, value: int) -> dict[str, str]:
    """The attributes of a brush mask: its box, and run lengths row by row inside of it."""
    rows, columns = np.nonzero(label == value)
    top, left = rows.min(), columns.min()
    part = (label == value)[top : rows.max() + 1, left : columns.max() + 1]
    flat = part.ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return {
        "label": NAMES[value],
        "rle": f"{counts}"[1:-1],
        "left": str(left),
        "top": str(top),
        "width": str(part.shape[1]),
        "height": str(part.shape[0]),
        "z_order": "0",
    }


def squares(label: np.ndarray, value: int) -> list[dict[str, str]]:
    """The attributes of polygons, every pixel one of its own."""
    return [
        {
            "label": NAMES[value],
            "points": f"{x}.00,{y}.00;{x + 1}.00,{y}.00;{x + 1}.00,{y + 1}.00;{x}.00,{y + 1}.00",
            "z_order": "0",
        }
        for y, x in np.argwhere(label == value).tolist()
    ]


class CvatContract(ReaderContract):
    kind = CvatReader

    def shapes(self, label: np.ndarray, value: int) -> list[tuple[str, dict[str, str]]]:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        images = []
        for name, label in LABELS.items():
            size = {"width": str(label.shape[1]), "height": str(label.shape[0])}
            values = [value for value in np.unique(label).tolist() if value]
            shapes = [shape for value in values for shape in self.shapes(label, value)]
            images.append(
                (f"{name}.png", {"subset": SUBSETS[name], "task_id": "7", **size}, shapes)
            )
        files = {f"images/{SUBSETS[i]}/{i}.png": encode(p) for i, p in PICTURES.items()}
        return files | {self.class_file(): exported(images)}

    def class_file(self) -> str:
        return "annotations.xml"

    def test_without_a_class_list(self, tmp_path: Path) -> None:
        unlabelled = self.files()[self.class_file()].replace(b"<label>", b"<other>")
        files = self.files() | {self.class_file(): unlabelled.replace(b"</label>", b"</other>")}
        self.refusal(tmp_path, files, "names no class")

    def test_without_any_pair(self, tmp_path: Path) -> None:
        files = {self.class_file(): self.files()[self.class_file()], "a.png": b""}
        self.refusal(tmp_path, files, "no picture has an annotation")


class TestMasks(CvatContract):
    def shapes(self, label: np.ndarray, value: int) -> list[tuple[str, dict[str, str]]]:
        return [("mask", mask(label, value))]


class TestPolygons(CvatContract):
    def shapes(self, label: np.ndarray, value: int) -> list[tuple[str, dict[str, str]]]:
        return [("polygon", shape) for shape in squares(label, value)]


POLYGON = {"label": "cat", "points": "1.00,1.00;4.00,1.00;4.00,4.00;1.00,4.00", "z_order": "0"}
MASK = {
    "label": "dog",
    "rle": "1, 2, 1",
    "left": "3",
    "top": "2",
    "width": "2",
    "height": "2",
    "z_order": "0",
}
SIZE = {"width": "8", "height": "6"}


def packed(path: Path, xml: bytes, **pictures: bytes) -> ZipSource:
    files = {"annotations.xml": xml, "images/a.png": encode(PICTURES["one"]), **pictures}
    return ZipSource(write_zip(path / "a.zip", files), Limits())


def label_of(path: Path, *shapes: tuple[str, dict[str, Any]]) -> np.ndarray:
    with packed(path, exported([("a.png", SIZE, list(shapes))])) as source:
        return open_reader(source).label("a")


def test_a_mask_is_read_row_by_row_inside_its_box(tmp_path: Path) -> None:
    label = label_of(tmp_path, ("mask", MASK))
    assert np.argwhere(label).tolist() == [[2, 4], [3, 3]]


def test_the_later_shape_is_on_top_unless_the_other_lies_higher(tmp_path: Path) -> None:
    over = POLYGON | {"label": "dog"}
    assert (label_of(tmp_path, ("polygon", POLYGON), ("polygon", over))[1:4, 1:4] == 2).all()
    higher = POLYGON | {"z_order": "1"}
    assert (label_of(tmp_path, ("polygon", higher), ("polygon", over))[1:4, 1:4] == 1).all()


def test_a_mask_that_leads_over_the_edge_is_cut_off(tmp_path: Path) -> None:
    label = label_of(tmp_path, ("mask", MASK | {"left": "7", "rle": "0, 4"}))
    assert np.argwhere(label).tolist() == [[2, 7], [3, 7]]


def test_boxes_are_left_out_with_a_warning(tmp_path: Path) -> None:
    box = {"label": "cat", "xtl": "1.00", "ytl": "1.00", "xbr": "3.00", "ybr": "3.00"}
    shapes = [("box", box), ("box", box), ("polygon", POLYGON), ("tag", {"label": "cat"})]
    with packed(tmp_path, exported([("a.png", SIZE, shapes)])) as source:
        reader = open_reader(source)
        assert (reader.label("a") == 1).sum() == 9
    assert reader.warnings == [
        "annotations.xml: 2 of <box> are left out: only polygons and masks are read",
        "annotations.xml: 1 of <tag> are left out: only polygons and masks are read",
    ]


def test_a_picture_that_is_called_something_unsafe_goes_by_its_own_name(tmp_path: Path) -> None:
    with packed(tmp_path, exported([("../../a.png", SIZE, [("polygon", POLYGON)])])) as source:
        assert open_reader(source).ids == ("images/a",)


def test_frames_of_a_video_are_named_without_their_suffix(tmp_path: Path) -> None:
    xml = exported([("frame_000000", SIZE, [("polygon", POLYGON)])])
    files = {"images/frame_000000.PNG": encode(PICTURES["one"])}
    with packed(tmp_path, xml, **files) as source:
        assert open_reader(source).ids == ("frame_000000",)


def of_two_videos(path: Path) -> ZipSource:
    """Frames that are called alike, in two subsets; the second one's is empty."""
    drawn = [("polygon", POLYGON)]
    frames = [
        ("frame_000000", SIZE | {"subset": subset}, drawn if subset == "Train" else [])
        for subset in ("Train", "Validation")
    ]
    files = {"annotations.xml": exported(frames)} | {
        f"images/{subset}/frame_000000.PNG": encode(PICTURES["one"])
        for subset in ("Train", "Validation")
    }
    return ZipSource(write_zip(path / "videos.zip", files), Limits())


def test_frames_of_two_videos_that_are_called_alike_are_two_pictures(tmp_path: Path) -> None:
    with of_two_videos(tmp_path) as source:
        reader = open_reader(source)
        train, validation = "images/Train/frame_000000", "images/Validation/frame_000000"
        assert reader.ids == (train, validation)
        assert reader.splits == {"train": (train,), "val": (validation,)}
        assert reader.label(train).any()
        assert not reader.label(validation).any()
        # As a version keeps its held-out pictures.
        pictures = [reader.encoded(each) for each in reader.ids]
        write_voc_zip(tmp_path / "kept.zip", pictures, reader.classes[1:])
    with ZipSource(tmp_path / "kept.zip", Limits()) as source:
        assert open_reader(source).ids == (train, validation)


def test_pictures_that_differ_by_their_suffix_alone_are_refused(tmp_path: Path) -> None:
    frames = [(name, SIZE, [("polygon", POLYGON)]) for name in ("b.png", "b.jpg")]
    files = {"images/b.png": encode(PICTURES["one"]), "images/b.jpg": encode(PICTURES["one"])}
    with (
        packed(tmp_path, exported(frames), **files) as source,
        pytest.raises(DatasetError, match="are both picture images/b"),
    ):
        open_reader(source)


def with_cameras(path: Path, listed: list[str], file: str) -> ZipSource:
    """The first of the listed pictures has a polygon, the others are empty; one file is there."""
    images = [(name, SIZE, [("polygon", POLYGON)] * (name == listed[0])) for name in listed]
    files = {"annotations.xml": exported(images), file: encode(PICTURES["one"])}
    return ZipSource(write_zip(path / "a.zip", files), Limits())


def test_a_picture_that_is_not_there_gets_no_other_ones_file(tmp_path: Path) -> None:
    listed = ["cam1/0001.png", "cam2/0001.png"]
    with with_cameras(tmp_path, listed, "images/cam2/0001.png") as source:
        reader = open_reader(source)
        assert reader.ids == ("cam2/0001",)
        assert not reader.label("cam2/0001").any()


@pytest.mark.parametrize("there", ["Train", "Validation"])
def test_a_missing_picture_is_not_the_one_that_another_subset_calls_so(
    tmp_path: Path, there: str
) -> None:
    subsets = ("Train", "Validation")
    frames = [("f.png", {**SIZE, "subset": one}, [("polygon", POLYGON)]) for one in subsets]
    with packed(
        tmp_path, exported(frames), **{f"images/{there}/f.png": encode(PICTURES["one"])}
    ) as source:
        reader = open_reader(source)
        assert reader.ids == ("f",)
        assert reader.splits == {{"Train": "train", "Validation": "val"}[there]: ("f",)}


@pytest.mark.parametrize("named", ["f_0", "f_0.png"])
def test_a_frame_without_suffix_that_may_be_two_files_is_refused(
    tmp_path: Path, named: str
) -> None:
    frames = [(named, {**SIZE, "subset": "A"}, [("polygon", POLYGON)]), ("g", SIZE, [])]
    files = [f"images/A/f_0.{suffix}" for suffix in ("jpg", "png")]
    pictures = dict.fromkeys((*files, "images/g.png"), encode(PICTURES["one"]))
    with packed(tmp_path, exported(frames), **pictures) as source:
        if named == "f_0":
            with pytest.raises(DatasetError, match=f"{files[0]} and {files[1]} are both picture"):
                open_reader(source)
        else:
            assert open_reader(source).ids == ("f_0", "g")


@pytest.mark.parametrize(
    ("listed", "file"),
    [
        (["cam1/0001.png", "cam2/0001.png"], "images/0001.png"),
        (["cam1/0001.png", "cam2/0001.png"], "0001.png"),
        (["0001.png", "cam2/0001.png"], "images/cam2/0001.png"),
        (["0001.png", "images/0001.png"], "images/0001.png"),
    ],
)
def test_two_listed_pictures_that_are_one_file_are_refused_by_name(
    tmp_path: Path, listed: list[str], file: str
) -> None:
    with (
        with_cameras(tmp_path, listed, file) as source,
        pytest.raises(DatasetError, match=f"{file} is listed twice") as caught,
    ):
        open_reader(source)
    assert all(name in caught.value.message for name in listed)


def test_a_picture_of_another_folder_is_found_where_no_other_is_called_so(tmp_path: Path) -> None:
    with with_cameras(tmp_path, ["cam1/0001.png"], "pictures/0001.png") as source:
        assert open_reader(source).picture_file("cam1/0001") == "pictures/0001.png"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("mask", MASK | {"rle": "1, 2"}), "do not add up to 2 x 2"),
        (("mask", MASK | {"rle": "5, -1"}), "do not add up"),
        (("mask", MASK | {"rle": f"{2**70}"}), "do not add up"),
        (("mask", MASK | {"rle": "x"}), "numbers"),
        (("mask", MASK | {"width": "100000", "height": "100000"}), "no part of the picture"),
        (("mask", MASK | {"left": "-1"}), "begins outside"),
        (("mask", MASK | {"top": "6"}), "begins outside"),
        (("polygon", POLYGON | {"points": "1,1;2,2"}), "three pairs"),
        (("polygon", POLYGON | {"points": "1,1;2,2;nan,3"}), "finite"),
        (("polygon", POLYGON | {"points": ""}), "numbers"),
        (("polygon", {"label": "cat"}), "has no `points`"),
        (("polygon", POLYGON | {"label": "bird"}), "'bird' is not in its `labels`"),
        (("polygon", POLYGON | {"label": ""}), "1 to 1000"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, shape: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        label_of(tmp_path, shape)
    assert caught.value.issues[0].file == "annotations.xml"


LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE annotations [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotations><meta><task><labels><label><name>&b;</name></label></labels></task></meta></annotations>"""
OUTSIDE = b"""<!DOCTYPE annotations SYSTEM "file:///etc/passwd"><annotations/>"""


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (b"", "not the XML"),
        (b"<annotations>", "no element found"),
        (b"<annotation/>", "begins with <annotation>"),
        (LAUGHS, "entities are not read"),
        (OUTSIDE, "entities are not read"),
        (b"<annotations>&who;</annotations>", "undefined entity"),
        (b"<annotations><track/></annotations>", "export it as CVAT for images"),
        (b"<annotations>" + b"<a>" * 100_000, "nested deeper"),
        (b'<annotations a="' + b"1" * (MAX_TAG + 2**17), "a tag has more than"),
        (b"<annotations><image/></annotations>", "has no `name`"),
        (b'<annotations><image name="a" width="0"/></annotations>', "`height`"),
        (b'<annotations><image name="a" height="-1"/></annotations>', "no size"),
        (b'<?xml version="1.0" encoding="klingon"?><annotations/>', "unknown encoding"),
        (
            b"<annotations><meta><labels><label><name>" + b"a" * 2000 + b"</name>",
            "1 to 1000 characters",
        ),
    ],
    ids=range(14),
)
def test_hostile_xml_is_refused(tmp_path: Path, xml: bytes, message: str) -> None:
    with packed(tmp_path, xml) as source, pytest.raises(DatasetError, match=message) as caught:
        open_reader(source)
    assert caught.value.issues[0].file == "annotations.xml"


def test_a_shape_has_so_many_numbers_and_no_more(tmp_path: Path) -> None:
    many = POLYGON | {"points": "1,1;" * 200_000 + "1,1"}
    with pytest.raises(DatasetError, match="more than 250000 numbers"):
        label_of(tmp_path, ("polygon", many))


def test_a_glance_parses_nothing(tmp_path: Path) -> None:
    with packed(tmp_path, LAUGHS) as source:
        assert glance(source) is None
    with packed(tmp_path, b"no") as source, pytest.raises(DatasetError, match="not XML"):
        glance(source)


def test_an_enclosing_folder_is_no_matter(tmp_path: Path) -> None:
    files = {f"export/{name}": data for name, data in TestMasks().files().items()}
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        assert open_reader(source).ids == ("one", "sub/three", "two")


def test_two_layouts_in_one_data_set_are_refused(tmp_path: Path) -> None:
    coco = b'{"images": [], "annotations": [], "categories": []}'
    files = TestMasks().files() | {"annotations/instances_default.json": coco}
    with (
        ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source,
        pytest.raises(DatasetError, match=r"COCO .* and CVAT for images .* leave one of them"),
    ):
        open_reader(source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(
    tag=st.sampled_from(["mask", "polygon"]),
    key=st.sampled_from([*MASK, "points"]),
    value=st.text(alphabet="0123456789,;.-+enaif \n\u2603", max_size=12),
)
def test_any_value_anywhere_is_read_or_a_clear_error(
    tmp_path: Path, tag: str, key: str, value: str
) -> None:
    with suppress(DatasetError):
        label_of(tmp_path, (tag, POLYGON | MASK | {"label": "cat"} | {key: value}))


tags = st.sampled_from(["annotations", "meta", "labels", "label", "name", "image"])


@given(
    pieces=st.lists(
        st.one_of(
            tags.map(lambda tag: f"<{tag}>"),
            tags.map(lambda tag: f"</{tag}>"),
            st.text(max_size=5),
            st.text(max_size=5).map(lambda text: f"<image name={quoteattr(text)}>"),
        ),
        max_size=12,
    )
)
def test_any_xml_is_read_or_a_clear_error(tmp_path_factory: Any, pieces: list[str]) -> None:
    xml = ("<annotations>" + "".join(pieces)).encode(errors="replace")
    folder = tmp_path_factory.mktemp("xml")
    with packed(folder, xml) as source, pytest.raises(DatasetError):
        open_reader(source)


def test_what_the_file_says_comes_piece_by_piece() -> None:
    shapes = [("polygon", POLYGON)] * 1000
    said = cvat_says(io.BytesIO(exported([("a.png", SIZE, shapes)])))
    assert sum(type(one).__name__ == "Shape" for one in said) == 1000
