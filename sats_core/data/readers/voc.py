"""The layout of Pascal VOC, and of what CVAT and others export under that name."""

import io
import posixpath
from collections.abc import Sequence
from typing import ClassVar

from sats_core.data.readers.base import at_fault, no_class_list
from sats_core.data.readers.class_list import (
    MAX_LIST_BYTES,
    ClassList,
    parse_classes,
    parse_labelmap,
)
from sats_core.data.readers.paired import SPLIT_FOLDERS, PairedReader
from sats_core.data.sources import Source

SPLITS = "ImageSets/Segmentation/"
MAX_SPLIT_BYTES = 64 * 2**20
"""Of all splits together: they are read when a data set is posted."""
LEARNED_FROM = ("train", "val")
"""Splits that a step takes by itself: naming nothing that is there, they are a mistake."""
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
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return any(name.startswith((cls.pictures, cls.masks)) for name in source.names())

    def _class_list(self) -> ClassList:
        for name, parse in CLASS_LISTS.items():
            if name in self.source.names():
                return parse(self.source.read(name, MAX_LIST_BYTES), name)
        raise no_class_list(*CLASS_LISTS)

    def _stem(self, stem: str) -> str:
        return stem

    def _read_splits(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        files = [name for name in names if name.startswith(SPLITS) and name.endswith(".txt")]
        left = MAX_SPLIT_BYTES
        splits: dict[str, tuple[str, ...]] = {}
        for name in files:
            left -= self.source.size(name)
            if left < 0:
                raise at_fault(
                    f"the splits have more than {MAX_SPLIT_BYTES} bytes together",
                    name,
                    code="too_large",
                )
            written = name[len(SPLITS) : -len(".txt")]
            split = SPLIT_FOLDERS.get(written.lower(), written)  # CVAT writes Train, Validation
            listed = self._listed(name)
            there = tuple(picture for picture in listed if picture in self._files)
            if there:
                splits[split] = tuple(dict.fromkeys((*splits.get(split, ()), *there)))
            elif listed and split in LEARNED_FROM:
                raise at_fault(self._nothing_there(listed), name)
            if len(there) < len(listed):
                absent = (one for one in listed if one not in self._files)
                self.missing[split] = (*self.missing.get(split, ()), *absent)
        return splits

    def _nothing_there(self, listed: Sequence[str]) -> str:
        """Return why a split names no labelled picture: masks are missing, or pictures too."""
        maskless = {posixpath.splitext(file)[0]: file for file in self.unpaired}
        for line in listed:
            for stem in (line, posixpath.splitext(line)[0]):
                if file := maskless.get(self.pictures + stem):
                    return (
                        f"names no picture that has a mask: {file[:100]} is there, "
                        f"{self.masks}{stem[:100]}.png is missing. CVAT writes no mask for a frame "
                        "on which nothing is drawn: export as COCO or CVAT for images, which keep "
                        "it, or take this file out of the zip"
                    )
        return f"names no picture that is there: {listed[0][:100]!r}, ..."

    def _listed(self, file: str) -> tuple[str, ...]:
        """Return the pictures that a split names, in the file's order, each once."""
        text = io.TextIOWrapper(io.BytesIO(self.source.read(file)), "utf-8-sig", newline="\n")
        try:
            lines = (line.strip().strip('"') for line in text)
            return tuple(dict.fromkeys(self._named(line) for line in lines if line))
        except UnicodeDecodeError as error:
            raise at_fault("a split is UTF-8 text, one picture a line", file) from error

    def _named(self, line: str) -> str:
        """Return the picture of a line; some tools write the suffix too."""
        stem = posixpath.splitext(line)[0]
        return stem if line not in self._files and stem in self._files else line
