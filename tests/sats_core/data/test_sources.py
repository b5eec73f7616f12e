import multiprocessing
import pickle
import random
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sats_core.data.names import printable
from sats_core.data.sources import DirectorySource, Source, ZipSource, zipped
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import write_directory, write_zip

FILES = {"a/one.txt": b"1", "a/two.txt": b"22", "list.txt": b""}
LIMITS = Limits()


@pytest.fixture(params=["zip", "directory"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    return _open(request.param, tmp_path / "set", FILES)


def test_names_are_sorted_and_bytes_come_back(source: Source) -> None:
    with source:
        assert list(source.names()) == sorted(FILES)
        assert {name: source.read(name) for name in source.names()} == FILES


def test_a_file_can_be_read_piece_by_piece(source: Source) -> None:
    with source, source.stream("a/two.txt") as stream:
        assert (stream.read(1), stream.read(1), stream.read(1)) == (b"2", b"2", b"")


def test_a_file_that_is_not_there(source: Source) -> None:
    with source:
        with pytest.raises(DatasetError, match="no such file") as caught:
            source.read("../list.txt")
        assert caught.value.issues[0].file == "../list.txt"
        with pytest.raises(DatasetError, match="no such file"), source.stream("../list.txt"):
            pass


@pytest.mark.parametrize("kind", ["zip", "directory"])
@pytest.mark.parametrize(
    ("files", "seen"),
    [
        (["top/a/x", "top/l.txt"], ["a/x", "l.txt"]),
        (["kit/v/a/x", "kit/v/l.txt"], ["a/x", "l.txt"]),
        (["a/x", "a/y"], ["a/x", "a/y"]),
        (["a/x", "b/y/z"], ["a/x", "b/y/z"]),
        (["top/a/x", "__MACOSX/top/a/._x", "top/.DS_Store", ".git/c"], ["a/x"]),
        (["top/a/x", "top/Thumbs.db", "desktop.ini"], ["a/x"]),
        ([], []),
        (["only"], ["only"]),
    ],
)
def test_the_folder_around_everything_and_junk(
    kind: str, files: list[str], seen: list[str], tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    with _open(kind, tmp_path / "set", dict.fromkeys(files, b"x")) as source:
        assert list(source.names()) == seen


@pytest.mark.parametrize("kind", ["zip", "directory"])
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_entries=2), "more than 2"),
        (Limits(max_unpacked_bytes=2), "more than 2 bytes"),
    ],
)
def test_limits_of_the_whole(kind: str, limits: Limits, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        _open(kind, tmp_path / "set", FILES, limits)


@pytest.mark.parametrize("kind", ["zip", "directory"])
def test_limit_of_one_file(kind: str, tmp_path: Path) -> None:
    with _open(kind, tmp_path / "set", FILES, Limits(max_file_bytes=1)) as source:
        assert source.read("a/one.txt") == b"1"
        with pytest.raises(DatasetError, match="larger than 1 bytes"):
            source.read("a/two.txt")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../up.txt",
        "a/../../up.txt",
        "C:/windows.txt",
        "c:windows.txt",
        "a\\b.txt",
        "\\\\host\\share",
        "new\nline",
        "escape\x1b[31m",
        "long/" + "x" * 1000,
    ],
)
def test_unsafe_names_in_a_zip(name: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/x": b"", name: b""})
    with pytest.raises(DatasetError, match="unsafe entry") as caught:
        ZipSource(path, LIMITS)
    assert caught.value.issues[0].file == printable(name)


@pytest.mark.parametrize("name", [b"a/good\0bad", b"\0aaaaaaaaa", b"a/b/c/d/\0/e"])
def test_a_name_cut_by_a_nul_is_judged_whole(name: bytes, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"x" * len(name): b""})
    path.write_bytes(path.read_bytes().replace(b"x" * len(name), name))
    with pytest.raises(DatasetError):
        ZipSource(path, LIMITS)


@pytest.mark.parametrize("second", ["a/x", "a//x", "./a/x"])
def test_a_name_twice(second: str, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/x", b"1")
        if second == "a/x":
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr(second, b"2")
        else:
            archive.writestr(second, b"2")
    with pytest.raises(DatasetError, match="twice"):
        ZipSource(path, LIMITS)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip(kind: int, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("a/link")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DatasetError, match="link or device"):
        ZipSource(tmp_path / "set.zip", LIMITS)


def test_an_encrypted_entry(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/x": b"secret"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="encrypted"):
        ZipSource(path, LIMITS)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", method) as archive:
        archive.writestr("a/x", b"x" * 100)
    with pytest.raises(DatasetError, match="deflate"):
        ZipSource(tmp_path / "set.zip", LIMITS)


def test_all_unsafe_entries_are_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"../a": b"", "b": b"", "/c": b""})
    with pytest.raises(DatasetError) as caught:
        ZipSource(path, LIMITS)
    assert [issue.file for issue in caught.value.issues] == ["../a", "/c"]


def test_a_bomb_by_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/x": bytes(5_000_000)})
    ZipSource(path, LIMITS).close()  # small enough to be honest
    monkeypatch.setattr(zipped, "RATIO_FREE_BYTES", 1_000_000)
    with pytest.raises(DatasetError, match="times its size"):
        ZipSource(path, LIMITS)


def test_an_entry_that_lies_about_its_size_gives_no_more_than_it_said(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/x": bytes(5_000_000)})
    data = path.read_bytes()
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(signature) + offset
        data = data[:place] + struct.pack("<I", 10) + data[place + 4 :]
    path.write_bytes(data)
    with ZipSource(path, LIMITS) as source, pytest.raises(DatasetError, match="damaged"):
        source.read("a/x")


def test_a_huge_directory_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {f"a/{i}": b"" for i in range(2000)})
    with pytest.raises(DatasetError, match="more than 10 entries"):
        ZipSource(path, Limits(max_entries=10))


def test_damage_is_found_when_the_file_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/x": random.Random(0).randbytes(1000), "b": b"1"})
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(data)
    with ZipSource(path, LIMITS) as source:
        assert source.read("b") == b"1"
        with pytest.raises(DatasetError, match="damaged"):
            source.read("a/x")
        with pytest.raises(DatasetError, match="damaged"), source.stream("a/x") as stream:
            stream.read()


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06", b"not a zip" * 100])
def test_not_a_zip(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(data)
    with pytest.raises(DatasetError, match="not a zip"):
        ZipSource(tmp_path / "set.zip", LIMITS)


@settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_zip_with_damage_anywhere_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/x": b"hello " * 9, "a/y": b"1", "b.txt": b"2"})
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        with ZipSource(path, LIMITS) as source:
            for name in source.names():
                assert len(source.read(name)) <= 54
    except DatasetError:
        pass


# A NUL cuts names short when they are written; `zipfile` cannot write one at the start at all.
_PART = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    names=st.lists(st.lists(_PART, min_size=1, max_size=3).map("/".join), max_size=4, unique=True)
)
def test_any_names_are_safe_or_refused(names: list[str], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", dict.fromkeys(names, b"x"))
    try:
        source = ZipSource(path, LIMITS)
    except DatasetError as error:
        error.args[0].encode()
        return
    with source:
        for name in source.names():
            assert printable(name) == name
            assert not name.startswith("/")
            assert ".." not in name.split("/")
            assert not (tmp_path / name).resolve().relative_to(tmp_path.resolve()).is_absolute()
            assert source.read(name) == b"x"


@pytest.mark.parametrize("workers", [4])
def test_threads_and_forks_share_a_source(workers: int, tmp_path: Path) -> None:
    files = {f"a/{i}": random.Random(i).randbytes(20_000) for i in range(50)} | {"b": b""}
    with ZipSource(write_zip(tmp_path / "set.zip", files), LIMITS) as source:
        names = list(source.names()) * 4
        with ThreadPoolExecutor(workers) as pool:
            for name, data in zip(names, pool.map(source.read, names), strict=True):
                assert data == files[name]
        copied = pickle.loads(pickle.dumps(source))
        assert copied.read("a/7") == files["a/7"]
        copied.close()


@pytest.mark.filterwarnings("ignore:This process")  # Python 3.12 and later, about threads and fork
def test_a_forked_process_reads_beside_its_parent(tmp_path: Path) -> None:
    files = {f"a/{i}": random.Random(i).randbytes(200_000) for i in range(20)} | {"b": b""}
    path = write_zip(tmp_path / "set.zip", files)
    fork = multiprocessing.get_context("fork")
    with ZipSource(path, LIMITS) as source:
        wrong = fork.Value("i", 0)
        children = [fork.Process(target=_compare, args=(source, files, wrong)) for _ in range(3)]
        for child in children:
            child.start()
        _compare(source, files, wrong)
        for child in children:
            child.join()
        assert wrong.value == 0
        assert all(child.exitcode == 0 for child in children)


def test_a_link_out_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    root = write_directory(tmp_path / "set", FILES)
    (root / "inside").symlink_to(root / "list.txt")
    assert DirectorySource(root, LIMITS).read("inside") == b""
    (root / "a" / "outside").symlink_to(tmp_path / "secret")
    with pytest.raises(DatasetError, match="leads out"):
        DirectorySource(root, LIMITS)


def test_not_a_directory(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a directory"):
        DirectorySource(tmp_path / "none", LIMITS)


def _compare(source: Source, files: dict[str, bytes], wrong: object) -> None:
    for _ in range(5):
        for name, data in files.items():
            if source.read(name) != data:
                wrong.value += 1  # type: ignore[attr-defined]


def _open(kind: str, path: Path, files: dict[str, bytes], limits: Limits = LIMITS) -> Source:
    if kind == "zip":
        return ZipSource(write_zip(path.with_suffix(".zip"), files), limits)
    return DirectorySource(write_directory(path, files), limits)
