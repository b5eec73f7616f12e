"""Zips from strangers: whatever they hold, they are read or refused by name."""

import io
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sats_core.data.readers import voc
from sats_core.errors import DatasetError
from tests.fixtures.examples import examples
from tests.hostile.sets import LIMITS, Entry, entries, read_all, replaced, write
from tests.sats_core.data.drawn import index_mask

quick = settings(
    max_examples=examples(80), suppress_health_check=[HealthCheck.function_scoped_fixture]
)

_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
NAMES = st.one_of(
    st.lists(_WORDS | st.sampled_from(["..", ".", "JPEGImages", "C:", "~"]), max_size=5).map(
        "/".join
    ),
    st.sampled_from(
        [
            "/etc/passwd",
            "//host/share",
            "../../up.png",
            "JPEGImages/../../up.png",
            "C:/x.png",
            "c:x.png",
            "a\\..\\b.png",
            "JPEGImages/0.png",
            "./JPEGImages/0.png",
            "JPEGImages//0.png",
            "JPEGImages/0.PNG",
            "JPEGImages",
            "classes.txt/x",
            "JPEGImages/" + "deep/" * 150 + "x.png",
            "JPEGImages/con.png",
            "\u202egnp.x",
            "ImageSets/Segmentation/train.txt",
            "labelmap.txt",
            "objectInfo150.txt",
            "classes.json",
        ]
    ),
)
MODES = st.sampled_from(
    [0, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK]
)
strange = st.builds(
    Entry,
    name=NAMES.filter(lambda name: name and not name.endswith("/")),
    data=st.binary(max_size=60) | st.sampled_from([b"../../../etc/passwd", bytes(300_000)]),
    mode=MODES,
    claimed=st.none() | st.integers(0, 2**31),
    flags=st.sampled_from([0, 0, 0, 1, 0x40, 0x41]),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]),
)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@quick
@given(extra=st.lists(strange, max_size=3), first=st.booleans(), data=st.data())
def test_any_entries_beside_honest_ones(
    extra: list[Entry], first: bool, data: st.DataObject, tmp_path: Path
) -> None:
    listed = [*extra, *entries()] if first else [*entries(), *extra]
    path = write(tmp_path / "set.zip", listed)
    raw = path.read_bytes()
    if data.draw(st.booleans()):
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
        assert read_all(path) or path.read_bytes() == raw
    else:
        read_all(path)


def test_the_honest_set_is_read(tmp_path: Path) -> None:
    assert read_all(write(tmp_path / "set.zip", entries())) == []


def test_a_zip_in_a_zip_is_a_file_like_any_other(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("JPEGImages/9.png", b"")
    nested = inner.getvalue()
    beside = [*entries(), Entry("more.zip", nested), Entry("JPEGImages/inner.zip", nested)]
    assert read_all(write(tmp_path / "set.zip", beside)) == []
    (refused,) = read_all(write(tmp_path / "set.zip", replaced("JPEGImages/0.png", nested)))
    assert refused.issues[0].file == "JPEGImages/0.png"
    (refused,) = read_all(write(tmp_path / "set.zip", [Entry("inner.zip", nested)]))
    assert "none of the layouts" in refused.message


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mode": stat.S_IFLNK | 0o777}, "a link or device"),
        ({"flags": 1}, "encrypted"),
        ({"method": zipfile.ZIP_LZMA}, "deflate"),
        ({"name": "/JPEGImages/0.png"}, "absolute"),
        ({"name": "D:JPEGImages/0.png"}, "absolute"),
        ({"name": "JPEGImages/../../0.png"}, "climbs"),
        ({"name": "JPEGImages\\0.png"}, "backslash"),
        ({"name": "JPEGImages/1.png"}, "twice"),
        ({"claimed": 20}, "damaged"),
        ({"claimed": 0}, "damaged|incomplete|not a picture"),
        ({"claimed": 2**31}, "the zip unpacks to more"),
        ({"data": bytes(LIMITS.max_file_bytes + 1)}, "larger than"),
    ],
)
def test_each_kind_is_refused_by_name(
    change: dict[str, object], reason: str, tmp_path: Path
) -> None:
    listed = [
        replace(e, **change) if e.name == "JPEGImages/0.png" else e  # type: ignore[arg-type]
        for e in entries()
    ]
    refused = read_all(write(tmp_path / "set.zip", listed))
    assert refused
    with pytest.raises(DatasetError, match=reason):
        raise refused[0]
    wrong = change.get("name", "JPEGImages/0.png")
    assert {issue.file for issue in refused[0].issues} <= {wrong}


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ([Entry(f"JPEGImages/{n}.png", b"") for n in range(201)], "more than 200 entries"),
        ([Entry(f"a/{n}", bytes(2**20)) for n in range(21)], "unpacks to more"),
    ],
)
def test_bombs_by_count_and_size(listed: list[Entry], reason: str, tmp_path: Path) -> None:
    (refused,) = read_all(write(tmp_path / "set.zip", listed))
    assert reason in refused.message


LISTS = {
    "classes.txt": "SegmentationClass/0.png",
    "labelmap.txt": "SegmentationClass/0.png",
    "classes.json": "masks/0.png",
    "objectInfo150.txt": "annotations/training/0.png",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_class_list_is_not_unpacked_beyond_its_own_bound(name: str, tmp_path: Path) -> None:
    large = LIMITS.model_copy(update={"max_file_bytes": 2**25})
    listed = [Entry(name, bytes(2**20 + 1)), Entry(LISTS[name], index_mask([[1]]))]
    (refused,) = read_all(write(tmp_path / "set.zip", listed), large)
    assert refused.issues[0].file == name
    assert "larger than 1048576 bytes" in refused.message


def test_splits_have_a_bound_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = [Entry(f"ImageSets/Segmentation/{n}.txt", b"0\n" * 50) for n in range(3)]
    path = write(tmp_path / "set.zip", [*entries(), *splits])
    assert read_all(path) == []
    monkeypatch.setattr(voc, "MAX_SPLIT_BYTES", 250)
    (refused,) = read_all(path)
    assert refused.issues[0].file == "ImageSets/Segmentation/2.txt"


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b'{"1": ' + b"9" * 500_000 + b"}",
        b'[{"id": 1e400, "name": "cat"}]',
        b'{"1": "\\ud800"}',
        b'{"cat": -1}',
        b'{"' + b"c" * 900_000 + b'": 1}',
        b'[{"index": 1, "name": "\\ud800", "color": "no"}]',
        b'{"1": "cat", "1": "dog", "01": "cow"}',
        b"\xff\xfe{",
        b"null",
    ],
)
def test_json_bombs_as_class_list(text: bytes, tmp_path: Path) -> None:
    listed = [Entry("classes.json", text), Entry("images/0.png", b""), Entry("masks/0.png", b"")]
    refused = read_all(write(tmp_path / "set.zip", listed))
    assert refused
    if b"dog" not in text:  # of a key twice the last one counts, as JSON has it everywhere
        assert refused[0].issues[0].file == "classes.json"


@pytest.mark.parametrize(
    "text",
    [
        b'{"images": ' + b"[" * 300_000,
        b'{"images": [{"id": 1, "file_name": "' + b"x" * 500_000 + b'", "height": 1, "width": 1}]}',
        b'{"categories": [{"id": ' + b"9" * 100_000 + b', "name": "cat"}]}',
        b'{"categories": [{"id": 1, "name": "\\ud800"}], "annotations": [],'
        b'"images": [{"id": 1, "file_name": "0.png", "height": 1, "width": 1}]}',
        b'{"images": [{"id": 1, "file_name": "0.png", "height": 1e9, "width": 1}]}',
        b'{"images": [{"id":1,"file_name":"0.png","height":99999999,"width":99999999}],'
        b'"categories": [{"id": 1, "name": "cat"}], "annotations": []}',
        b"{" + b'"a":{' * 200_000,
    ],
)
def test_json_bombs_as_coco(text: bytes, tmp_path: Path) -> None:
    listed = [Entry("a.json", text), Entry("0.png", b"")]
    (refused, *_) = read_all(write(tmp_path / "set.zip", listed))
    assert refused.issues[0].file in ("a.json", "0.png")
