"""One reader for each layout of a data set, all behind `Reader`."""

from sats_core.data.readers.ade20k import Ade20kReader
from sats_core.data.readers.base import EncodedPicture, LabelledPicture, Reader
from sats_core.data.readers.cityscapes import CityscapesReader
from sats_core.data.readers.coco import CocoReader
from sats_core.data.readers.cvat import CvatReader
from sats_core.data.readers.image_folder import ImageFolderReader
from sats_core.data.readers.label_studio import LabelStudioReader
from sats_core.data.readers.labelme import LabelmeReader
from sats_core.data.readers.pairs import PairsReader
from sats_core.data.readers.supervisely import SuperviselyReader
from sats_core.data.readers.voc import VocReader
from sats_core.data.readers.voc_writer import reading_order, write_voc_zip
from sats_core.data.readers.yolo import YoloReader
from sats_core.data.sources import Source
from sats_core.errors import DatasetError

__all__ = [
    "READERS",
    "Ade20kReader",
    "CityscapesReader",
    "CocoReader",
    "CvatReader",
    "EncodedPicture",
    "ImageFolderReader",
    "LabelStudioReader",
    "LabelledPicture",
    "LabelmeReader",
    "PairsReader",
    "Reader",
    "SuperviselyReader",
    "VocReader",
    "YoloReader",
    "glance",
    "open_reader",
    "reading_order",
    "write_voc_zip",
]

READERS: dict[str, type[Reader]] = {
    "voc": VocReader,
    "ade20k": Ade20kReader,
    "pairs": PairsReader,
    "coco": CocoReader,
    "cvat": CvatReader,
    "label_studio": LabelStudioReader,
    "labelme": LabelmeReader,
    "yolo": YoloReader,
    "cityscapes": CityscapesReader,
    "supervisely": SuperviselyReader,
    "image_folder": ImageFolderReader,
}
"""Every layout that can be read."""


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
    found = [reader for reader in READERS.values() if reader.recognises(source)]
    if len(found) > 1:
        layouts = " and ".join(reader.layout for reader in found)
        raise DatasetError(f"the data set could be read as {layouts}: leave one of them in it")
    if found:
        return found[0]
    # Neither says what it is: the reader will say what is missing.
    if any(name.endswith(".json") for name in names):
        return CocoReader
    if any(name.startswith(PairsReader.masks) for name in names):
        return PairsReader
    layouts = "; ".join(f"{reader.layout}" for reader in READERS.values())
    raise DatasetError(f"the data set has none of the layouts that can be read: {layouts}")
