"""The layout of Pascal VOC, and of what CVAT and others export under that name."""

import io
from collections.abc import Sequence
from typing import ClassVar

from sats_core.data.readers.base import at_fault
from sats_core.data.readers.class_list import (
    MAX_LIST_BYTES,
    ClassList,
    parse_classes,
    parse_labelmap,
)
from sats_core.data.readers.paired import PairedReader
from sats_core.errors import DatasetError

SPLITS = "ImageSets/Segmentation/"
MAX_SPLIT_BYTES = 64 * 2**20
"""Of all splits together: they are read when a data set is posted."""
CLASS_LISTS = {"classes.txt": parse_classes, "labelmap.txt": parse_labelmap}


class VocReader(PairedReader):
    """JPEGImages/, SegmentationClass/, a class list, and splits where there are any.

    Masks hold class indices (`classes.txt`) or the list's colours (`labelmap.txt`); colour masks
    beside `classes.txt` are read with VOC's own colours.
    """

    layout: ClassVar[str] = (
        "Pascal VOC (JPEGImages/, SegmentationClass/*.png, classes.txt or labelmap.txt, "
        "optionally ImageSets/Segmentation/*.txt)"
    )
    pictures = "JPEGImages/"
    masks = "SegmentationClass/"

    @classmethod
    def recognises(cls, names: Sequence[str]) -> bool:
        """See `Reader.recognises`."""
        return any(name.startswith((cls.pictures, cls.masks)) for name in names)

    def _class_list(self) -> ClassList:
        for name, parse in CLASS_LISTS.items():
            if name in self.source.names():
                return parse(self.source.read(name, MAX_LIST_BYTES), name)
        raise DatasetError(f"no class list: {' or '.join(CLASS_LISTS)} is missing")

    def _stem(self, stem: str) -> str:
        return stem

    def _read_splits(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        files = [name for name in names if name.startswith(SPLITS) and name.endswith(".txt")]
        left = MAX_SPLIT_BYTES
        splits = {}
        for name in files:
            left -= self.source.size(name)
            if left < 0:
                raise at_fault(f"the splits have more than {MAX_SPLIT_BYTES} bytes together", name)
            if listed := self._listed(name):
                splits[name[len(SPLITS) : -len(".txt")]] = listed
        return splits

    def _listed(self, file: str) -> tuple[str, ...]:
        """Return a split's pictures in the file's order, those without picture or mask left out."""
        text = io.TextIOWrapper(io.BytesIO(self.source.read(file)), "utf-8-sig", newline="\n")
        try:
            lines = (line.strip().strip('"') for line in text)
            return tuple(dict.fromkeys(line for line in lines if line in self._files))
        except UnicodeDecodeError as error:
            raise at_fault("a split is UTF-8 text, one picture a line", file) from error
