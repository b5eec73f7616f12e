"""What a source says of a file that it will not give, word for word, and where its limits lie."""

import io
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sats_core.data.sources import DirectorySource, Source, ZipSource, base, zipped
from sats_core.errors import DatasetError, Issue
from sats_core.settings import Limits
from tests.sats_core.data.drawn import write_directory, write_zip

FILES = {"a/x": b"123", "b": b""}
FAULTY = {
    "../up": "a name that climbs out of the data set",
    "/etc": "an absolute name",
    "a/x": "there twice",
    "link": "a link or device, not a file",
    "packed": "compressed by something else than deflate",
}


def zip_of(folder: Path, limits: Limits, files: dict[str, bytes] = FILES) -> Source:
    return ZipSource(write_zip(folder / "set.zip", files), limits)


def directory_of(folder: Path, limits: Limits, files: dict[str, bytes] = FILES) -> Source:
    return DirectorySource(write_directory(folder / "set", files), limits)


KINDS = pytest.mark.parametrize("opened", [zip_of, directory_of])
Opened = Callable[[Path, Limits], Source]


def said(call: Callable[[], object]) -> tuple[str, tuple[Issue, ...]]:
    with pytest.raises(DatasetError) as caught:
        call()
    return caught.value.message, caught.value.issues


@KINDS
def test_a_file_has_its_size_and_one_that_is_not_there_is_named(
    opened: Opened, tmp_path: Path
) -> None:
    with opened(tmp_path, Limits()) as source:
        assert (source.size("a/x"), source.size("b")) == (3, 0)
        for call in (source.size, source.read):
            assert said(lambda call=call: call("a\ny")) == (
                "a?y: no such file",
                (Issue("no such file", file="a?y", code="missing"),),
            )


@KINDS
def test_a_file_may_be_as_large_as_the_limit_or_as_the_caller_says(
    opened: Opened, tmp_path: Path
) -> None:
    with opened(tmp_path, Limits(max_file_bytes=3)) as source:
        assert source.read("a/x") == source.read("a/x", most=3) == b"123"
        assert said(lambda: source.read("a/x", most=2)) == (
            "a/x: larger than 2 bytes",
            (Issue("larger than 2 bytes", file="a/x", code="too_large"),),
        )
    with opened(tmp_path, Limits(max_file_bytes=2)) as source:
        assert source.read("a/x", most=4) == b"123"
        for call in (source.read, lambda name: source.stream(name).__enter__()):
            assert said(lambda call=call: call("a/x"))[0] == "a/x: larger than 2 bytes"


@pytest.mark.parametrize(
    ("opened", "whole", "files"),
    [(zip_of, "zip", "entries"), (directory_of, "directory", "files")],
)
def test_a_set_may_hold_as_much_as_the_limits(
    opened: Opened, whole: str, files: str, tmp_path: Path
) -> None:
    opened(tmp_path, Limits(max_entries=2, max_unpacked_bytes=3)).close()
    assert said(lambda: opened(tmp_path, Limits(max_entries=1))) == (
        f"the {whole} has more than 1 {files}",
        (),
    )
    verb = "unpacks to" if whole == "zip" else "has"
    assert said(lambda: opened(tmp_path, Limits(max_unpacked_bytes=2))) == (
        f"the {whole} {verb} more than 2 bytes",
        (),
    )


def test_every_faulty_entry_of_a_zip_is_named_with_its_fault(tmp_path: Path) -> None:
    """Also where a name that is not safe comes twice."""
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("./a/x", b"")
        for name in ("../up", "../up", "/etc", "a/x"):
            if name in archive.namelist():
                with pytest.warns(UserWarning, match="Duplicate"):
                    archive.writestr(name, b"")
            else:
                archive.writestr(name, b"")
        archive.writestr(link, b"/etc/passwd")
        archive.writestr("packed", b"x" * 100, zipfile.ZIP_BZIP2)
    message, issues = said(lambda: ZipSource(tmp_path / "set.zip", Limits()))
    assert message == "unsafe entry '../up': a name that climbs out of the data set"
    expected = [Issue(reason, file=name) for name, reason in FAULTY.items()]
    assert list(issues) == [expected[0], *expected]


@pytest.mark.parametrize(("faulty", "told"), [(1, ""), (2, ""), (3, "; 3 in all")])
def test_how_many_are_faulty_is_told_where_not_all_are_named(
    faulty: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MOST_ISSUES", 2)
    names = [f"/{number}" for number in range(faulty)]
    message, issues = said(lambda: zip_of(tmp_path, Limits(), dict.fromkeys(names, b"")))
    assert message == f"unsafe entry '/0': an absolute name{told}"
    assert [issue.file for issue in issues] == names[:2]


def test_an_encrypted_entry_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/x": b"secret"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert said(lambda: ZipSource(path, Limits()))[1] == (Issue("encrypted", file="a/x"),)


def test_folders_and_files_as_a_file_system_has_them_are_no_fault(tmp_path: Path) -> None:
    root = write_directory(tmp_path / "set", {"a/x": b"1", "b": b"2"})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("a", "a/x", "b"):
            archive.write(root / name, name)
    with ZipSource(tmp_path / "set.zip", Limits()) as source:
        assert source.names() == ("a/x", "b")


def test_a_name_is_taken_in_clean_and_sorted(tmp_path: Path) -> None:
    with zip_of(tmp_path, Limits(), {"b//x": b"1", "./a/y": b"2", "a/x": b"3"}) as source:
        assert {name: source.read(name) for name in source.names()} == {
            "a/x": b"3",
            "a/y": b"2",
            "b/x": b"1",
        }
        assert source.names() == ("a/x", "a/y", "b/x")


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_what_is_no_zip_is_said_to_be_none_and_let_go_of(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(content)
    assert said(lambda: ZipSource(tmp_path / "set.zip", Limits())) == (
        "the data set is not a zip file, or a damaged one",
        (),
    )


def test_damage_inside_a_zip_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", FILES)
    path.write_bytes(path.read_bytes().replace(b"PK\x03\x04", b"PK\x03\x05", 1))
    with ZipSource(path, Limits()) as source:
        assert said(lambda: source.read("a/x")) == (
            "a/x: damaged inside the zip",
            (Issue("damaged inside the zip", file="a/x", code="unreadable"),),
        )


def test_an_entry_that_lies_about_its_size_is_not_unpacked_whole(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a": bytes(20_000_000)})
    data = path.read_bytes()
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(signature) + offset
        data = data[:place] + (10).to_bytes(4, "little") + data[place + 4 :]
    path.write_bytes(data)
    with ZipSource(path, Limits()) as source:
        tracemalloc.start()
        try:
            assert said(lambda: source.read("a"))[0] == "a: damaged inside the zip"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("offset", [2**40, 2**63, 2**64 - 1])
def test_an_entry_that_lies_about_its_place_is_named(offset: int, tmp_path: Path) -> None:
    """In zip64's own field, which has room for what no file can be as long as."""
    path = write_zip(tmp_path / "set.zip", {"a": b"content"})
    data = path.read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    more = struct.pack("<HHQ", 1, 8, offset)
    entry = bytearray(data[start:end])
    entry[30:32], entry[42:46] = struct.pack("<H", len(more)), b"\xff" * 4
    tail = bytearray(data[end:])
    tail[12:16] = struct.pack("<I", len(entry) + len(more))
    path.write_bytes(data[:start] + bytes(entry) + more + bytes(tail))

    def streamed(source: ZipSource) -> None:
        with source.stream("a") as file:
            file.read()

    with ZipSource(path, Limits()) as source:
        for call in (lambda: source.read("a"), lambda: streamed(source)):
            assert said(call) == (
                "a: damaged inside the zip",
                (Issue("damaged inside the zip", file="a", code="unreadable"),),
            )


def test_an_archive_may_unpack_to_exactly_so_many_times_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "set.zip", {"a": bytes(10_000)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = bytes(1000 - path.stat().st_size)
    assert path.stat().st_size == 1000
    monkeypatch.setattr(zipped, "RATIO_FREE_BYTES", 9_999)
    monkeypatch.setattr(zipped, "MAX_RATIO", 10)
    ZipSource(path, Limits()).close()
    monkeypatch.setattr(zipped, "MAX_RATIO", 9)
    assert said(lambda: ZipSource(path, Limits())) == (
        "the zip unpacks to more than 9 times its size",
        (),
    )
    monkeypatch.setattr(zipped, "RATIO_FREE_BYTES", 10_000)
    ZipSource(path, Limits()).close()


def test_no_single_read_takes_more_than_the_most(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with zipped._BoundedFile(tmp_path / "file", 3) as file:
        assert file.size == 5
        assert (file.read(3), file.read(), file.read(None)) == (b"123", b"45", b"")
        with pytest.raises(zipped._TooLargeReadError):
            file.read(4)


class Elsewhere(io.FileIO):
    """A zip that is asked for piece by piece; notes how much is asked for at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[int] = []

    def readinto(self, buffer: Any, /) -> int | None:
        self.asked.append(memoryview(buffer).nbytes)
        return super().readinto(buffer)


def test_of_a_zip_that_lies_elsewhere_some_is_asked_for_at_once(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a": b"1", "b": bytes(100)})
    place = Elsewhere(path)
    with ZipSource(lambda: place, Limits()) as source:
        assert (source.read("a"), source.read("b")) == (b"1", bytes(100))
    assert place.closed
    assert set(place.asked) == {zipped._BUFFER}


def test_a_file_that_went_away_or_is_none_is_named(tmp_path: Path) -> None:
    source = directory_of(tmp_path, Limits())
    (tmp_path / "set" / "b").unlink()
    for call in (source.size, source.read):
        assert said(lambda call=call: call("b")) == (
            "b: cannot be read",
            (Issue("cannot be read", file="b", code="unreadable"),),
        )


def test_links_of_a_directory_that_lead_out_or_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    root = write_directory(tmp_path / "set", FILES)
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "nowhere").symlink_to(root / "none")
    message, issues = said(lambda: DirectorySource(root, Limits()))
    assert set(issues) == {
        Issue("a link that leads out of the data set", file="out"),
        Issue("not a regular file", file="nowhere"),
    }
    assert message == f"unsafe entry {issues[0].file!r}: {issues[0].reason}"


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(b"")
    assert said(lambda: DirectorySource(tmp_path / "set", Limits())) == (
        "the data set is not a directory",
        (),
    )
