"""Data sets as zips in which something is hostile, and what may come of reading them."""

import struct
import time
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from sats_core.data.names import printable
from sats_core.data.readers import glance, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.sats_core.data.drawn import encode, index_mask

WIDTH, HEIGHT = 8, 6
LIMITS = Limits(
    max_pixels=100_000,
    max_entries=200,
    max_unpacked_bytes=20 * 2**20,
    max_file_bytes=2**20,
    max_annotation_bytes=2**20,
)
SECONDS = 20
"""Of processor time, on a slow machine, for what takes milliseconds."""


@dataclass(frozen=True)
class Entry:
    """One entry of a zip, as a stranger may write it.

    Attributes:
        mode: of the file, as Unix has it; 0 says nothing.
        claimed: size that the zip says, where it lies.
        flags: bits set besides, in the zip's directory.
    """

    name: str
    data: bytes
    mode: int = 0
    claimed: int | None = None
    flags: int = 0
    method: int = zipfile.ZIP_DEFLATED


def entries(classes: bytes = b"background\ncat\n", count: int = 3) -> list[Entry]:
    """Return an honest data set of class cat, in VOC layout."""
    picture = encode(Image.new("RGB", (WIDTH, HEIGHT), (9, 8, 7)))
    mask = index_mask([[1] * WIDTH] * HEIGHT)
    found = [Entry("classes.txt", classes)]
    for number in range(count):
        found.append(Entry(f"JPEGImages/{number}.png", picture))
        found.append(Entry(f"SegmentationClass/{number}.png", mask))
    return found


def replaced(name: str, data: bytes) -> list[Entry]:
    """Return the honest data set with one file's bytes changed."""
    return [replace(e, data=data) if e.name == name else e for e in entries()]


def write(path: Path, listed: Iterable[Entry]) -> Path:
    """Write a zip of just these entries, lies included."""
    listed = list(listed)
    with zipfile.ZipFile(path, "w") as archive:
        for entry in listed:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = entry.name
            info.external_attr = entry.mode << 16
            info.compress_type = entry.method
            archive.writestr(info, entry.data)
    return path if all(e.claimed is None and not e.flags for e in listed) else _lie(path, listed)


def _lie(path: Path, listed: Sequence[Entry]) -> Path:
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        infos, place = archive.infolist(), archive.start_dir
    for entry, info in zip(listed, infos, strict=True):
        if entry.claimed is not None:
            struct.pack_into("<I", raw, info.header_offset + 22, entry.claimed)
            struct.pack_into("<I", raw, place + 24, entry.claimed)
        raw[place + 8] |= entry.flags
        lengths = struct.unpack_from("<HHH", raw, place + 28)
        place += 46 + sum(lengths)
    path.write_bytes(raw)
    return path


def read_all(path: Path, limits: Limits = LIMITS) -> list[DatasetError]:
    """Glance at a posted zip, then read every picture, as service and worker do.

    Returns what was refused, and holds each refusal to what a person needs: it names a file or the
    zip as a whole, in characters that any log, JSON or database takes. Anything else that is raised
    is a bug, and so is a long time.
    """
    refused = []
    began = time.process_time()
    try:
        with ZipSource(path, limits) as source:
            glance(source)
            reader = open_reader(source)
            for picture_id in reader.ids:
                try:
                    read = reader.read(picture_id)
                except DatasetError as error:
                    refused.append(error)
                else:
                    assert read.picture.shape[:2] == read.label.shape
    except DatasetError as error:
        refused.append(error)
    assert time.process_time() - began < SECONDS
    for error in refused:
        _hold(error, path)
    return refused


def _hold(error: DatasetError, path: Path) -> None:
    about_all = ("zip", "data set", "class list", "no files in", "picture", ".json files")
    assert error.issues or any(word in error.message for word in about_all), error.message
    for issue in error.issues:
        assert issue.file
        assert issue.reason
        for text in (issue.file, issue.reason, issue.class_name or ""):
            assert printable(text) == text
            assert str(path.parent) not in text
        assert len(issue.reason) < 1000
