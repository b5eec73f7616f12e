"""Labelled pictures into a zip in VOC layout."""

import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from sats_core.classes import voc_colour
from sats_core.data.readers.base import EncodedPicture, Pixels

_PALETTE = [part for index in range(256) for part in voc_colour(index)]


def write_voc_zip(path: Path, items: Iterable[EncodedPicture], classes: Sequence[str]) -> int:
    """Write a zip that `VocReader` reads back with the same labels; return how many pictures.

    Picture files are copied byte for byte. The same input gives the same bytes.
    """
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        lines = [f"{index} {name}\n" for index, name in enumerate(("background", *classes))]
        _add(archive, "classes.txt", "".join(lines).encode())
        for item in items:
            _add(archive, f"JPEGImages/{item.id}{item.suffix}", item.data)
            _add(archive, f"SegmentationClass/{item.id}.png", _png(item.label))
            count += 1
    return count


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), data)


def _png(label: Pixels) -> bytes:
    image = Image.fromarray(label)
    image.putpalette(_PALETTE)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
