"""One reader for each layout of a data set, all behind `Reader`."""

from sats_core.data.readers.ade20k import Ade20kReader
from sats_core.data.readers.base import EncodedPicture, LabelledPicture, Reader
from sats_core.data.readers.coco import CocoReader
from sats_core.data.readers.pairs import PairsReader
from sats_core.data.readers.voc import VocReader
from sats_core.data.readers.voc_writer import write_voc_zip
from sats_core.data.sources import Source
from sats_core.errors import DatasetError

__all__ = [
    "READERS",
    "Ade20kReader",
    "CocoReader",
    "EncodedPicture",
    "LabelledPicture",
    "PairsReader",
    "Reader",
    "VocReader",
    "glance",
    "open_reader",
    "write_voc_zip",
]

READERS: dict[str, type[Reader]] = {
    "voc": VocReader,
    "ade20k": Ade20kReader,
    "pairs": PairsReader,
    "coco": CocoReader,
}
"""Every layout that can be read, tried in this order."""


def open_reader(source: Source) -> Reader:
    """Return the reader for a data set's layout, its structure checked, no picture decoded.

    Raises:
        DatasetError: no known layout, or the first thing that the layout lacks.
    """
    return _layout(source)(source)


def glance(source: Source) -> tuple[str, ...] | None:
    """Check cheaply that a data set is one that can be read, and return its classes.

    Returns None where only the whole of large files tells the classes; `open_reader` reads them.

    Raises:
        DatasetError: no known layout, or the first thing that the layout lacks.
    """
    return _layout(source).glance(source)


def _layout(source: Source) -> type[Reader]:
    names = source.names()
    if not names:
        raise DatasetError("the data set is empty")
    for reader in READERS.values():
        if reader.recognises(names):
            return reader
    layouts = "; ".join(f"{reader.layout}" for reader in READERS.values())
    raise DatasetError(f"the data set has none of the layouts that can be read: {layouts}")
