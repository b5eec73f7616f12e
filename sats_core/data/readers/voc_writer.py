"""Labelled pictures into a zip in VOC layout."""

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from sats_core.classes import voc_colour
from sats_core.data.names import MAX_NAME
from sats_core.data.readers.base import EncodedPicture, Pixels

_PALETTE = [part for index in range(256) for part in voc_colour(index)]
_LONGEST_ID = MAX_NAME - len("SegmentationClass/.png")


def write_voc_zip(path: Path, items: Iterable[EncodedPicture], classes: Sequence[str]) -> int:
    """Write a zip that `VocReader` reads back with the same labels; return how many pictures.

    Picture files are copied byte for byte. The same input gives the same bytes. A picture goes by
    its id; by the id's beginning and digest where its files would have longer names than are read.
    """
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        lines = [f"{index} {name}\n" for index, name in enumerate(("background", *classes))]
        _add(archive, "classes.txt", "".join(lines).encode())
        for item in items:
            name = _short(item.id)
            _add(archive, f"JPEGImages/{name}{item.suffix}", item.data)
            _add(archive, f"SegmentationClass/{name}.png", _png(item.label))
            count += 1
    return count


def reading_order(ids: Iterable[str]) -> list[str]:
    """Return ids of pictures in the order in which a zip that has them all is read back."""
    return sorted(ids, key=_short)


def _short(picture_id: str) -> str:
    if len(picture_id) <= _LONGEST_ID:
        return picture_id
    digest = hashlib.sha256(picture_id.encode()).hexdigest()
    return f"{picture_id[: _LONGEST_ID - len(digest) - 1]}-{digest}"


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), data)


def _png(label: Pixels) -> bytes:
    image = Image.fromarray(label)
    image.putpalette(_PALETTE)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
