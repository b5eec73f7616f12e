"""COCO JSON: instances, stuff or panoptic, as COCO, CVAT, Label Studio and Roboflow write it."""

import posixpath
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.pictures import decode_mask
from sats_core.data.readers.base import Pixels, Reader, at_fault
from sats_core.data.readers.class_list import BACKGROUND_NAMES, indexed_classes
from sats_core.data.readers.coco_index import CocoIndex, Entry
from sats_core.data.readers.coco_shapes import ShapeError, shape_mask
from sats_core.data.readers.paired import PICTURE_SUFFIXES, SPLIT_FOLDERS
from sats_core.data.sources import Source
from sats_core.errors import DatasetError, PictureError

VOID_NAMES = frozenset({"void", "ignore"})
"""Categories whose pixels count for nothing."""


class CocoReader(Reader):
    """One JSON file or one a split, pictures anywhere beside them.

    Where shapes overlap the smaller one is on top. A split is named by the JSON's file
    (`instances_train2017.json`) or folder (`valid/_annotations.coco.json`).
    """

    layout: ClassVar[str] = (
        "COCO (one or more .json files of instances, stuff or panoptic, and their pictures)"
    )

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._index = CocoIndex(source, tuple(n for n in source.names() if n.endswith(".json")))
        self._values = self._label_values()
        self._names = set(source.names())
        self._by_name = self._unique_names()
        self._entries = self._found()
        self.ids = tuple(sorted(self._entries))
        if not self.ids:
            raise DatasetError(
                f"no picture has an entry: none of the files that {', '.join(self._index.files)} "
                "lists is there"
            )
        used = {file for _, file in self._entries.values()}
        masks = {self._mask_name(entry) for entry, _ in self._entries.values()}
        self.unpaired = tuple(
            sorted(name for name in self._pictures() if name not in used and name not in masks)
        )
        self.splits = self._read_splits()

    @classmethod
    def recognises(cls, names: Sequence[str]) -> bool:
        """See `Reader.recognises`."""
        return any(name.endswith(".json") for name in names)

    def _label_values(self) -> dict[int, int]:
        """Return the label value of each category."""
        file = self._index.files[0]
        kept: list[tuple[int, str]] = []
        values: dict[int, int] = {}
        for category, name in sorted(self._index.categories.items()):
            if name.lower() in BACKGROUND_NAMES:
                values[category] = BACKGROUND
            elif name.lower() in VOID_NAMES:
                values[category] = IGNORE
            else:
                kept.append((len(kept) + 1, name))
                values[category] = len(kept)
        if len(kept) >= IGNORE:
            raise at_fault(f"{len(kept)} categories; a mask holds at most {IGNORE - 1}", file)
        self.classes = indexed_classes(kept, file).classes
        return values

    def _pictures(self) -> list[str]:
        return [n for n in self._names if n.rpartition(".")[2].lower() in PICTURE_SUFFIXES]

    def _unique_names(self) -> dict[str, str | None]:
        """Return files by their name without folders; None where two share it."""
        found: dict[str, str | None] = {}
        for name in self._pictures():
            base = posixpath.basename(name)
            found[base] = None if base in found else name
        return found

    def _found(self) -> dict[str, tuple[Entry, str]]:
        """Return the entries whose picture is there, by the picture's name without suffix."""
        entries: dict[str, tuple[Entry, str]] = {}
        for entry in self._index.pictures():
            file = self._file_of(entry)
            if file is None:
                continue
            json = self._index.files[entry.file]
            stem = entry.name.rpartition(".")[0] or entry.name
            if stem in entries:
                raise at_fault(f"picture {stem} is listed twice", json)
            entries[stem] = (entry, file)
        return entries

    def _file_of(self, entry: Entry) -> str | None:
        beside = posixpath.dirname(self._index.files[entry.file])
        for folder in (beside, "", "images"):
            name = posixpath.normpath(posixpath.join(folder, entry.name))
            if name in self._names:
                return name
        return self._by_name.get(posixpath.basename(entry.name))

    def _read_splits(self) -> dict[str, tuple[str, ...]]:
        splits: dict[str, list[str]] = {}
        for picture_id, (entry, _) in sorted(self._entries.items()):
            split = _split(self._index.files[entry.file])
            if split:
                splits.setdefault(split, []).append(picture_id)
        return {name: tuple(ids) for name, ids in sorted(splits.items())}

    def picture_file(self, picture_id: str) -> str:
        """See `Reader.picture_file`."""
        return self._entries[picture_id][1]

    def mask_file(self, picture_id: str) -> str:
        """See `Reader.mask_file`: the JSON file, or a panoptic picture's PNG."""
        entry, _ = self._entries[picture_id]
        return self._mask_name(entry) or self._index.files[entry.file]

    def _mask_name(self, entry: Entry) -> str | None:
        """Return the file of a panoptic mask."""
        segments = self._index.segments(entry)
        if segments is None:
            return None
        file = self._index.files[entry.file]
        folder = file.removesuffix(".json")
        for place in (folder, posixpath.dirname(file), "", "masks"):
            name = posixpath.normpath(posixpath.join(place, segments[0]))
            if name in self._names:
                return name
        found = self._by_name.get(posixpath.basename(segments[0]))
        if found is None:
            raise at_fault(f"the panoptic mask {segments[0]} is missing", file)
        return found

    def label(self, picture_id: str) -> Pixels:
        """See `Reader.label`."""
        entry, _ = self._entries[picture_id]
        limit = self.source.limits.max_pixels
        if entry.height * entry.width > limit:
            file = self._index.files[entry.file]
            raise at_fault(f"picture {entry.name} has more than {limit} pixels", file)
        segments = self._index.segments(entry)
        if segments is not None:
            return self._panoptic(entry, segments[1])
        return self._painted(entry)

    def _painted(self, entry: Entry) -> Pixels:
        file = self._index.files[entry.file]
        shapes = []
        for category, segmentation in self._index.shapes(entry):
            try:
                mask = shape_mask(segmentation, entry.height, entry.width)
            except ShapeError as error:
                raise at_fault(f"a shape of {entry.name}: {error}", file) from error
            shapes.append((int(mask.sum()), self._value(category, entry), mask))
        label = np.zeros((entry.height, entry.width), dtype=np.uint8)
        for _, value, mask in sorted(shapes, key=lambda shape: -shape[0]):
            label[mask] = value
        return label

    def _panoptic(self, entry: Entry, segments: dict[int, int]) -> Pixels:
        file = self._mask_name(entry) or ""
        try:
            mask = decode_mask(self.source.read(file), self.source.limits.max_pixels)
        except PictureError as error:
            raise at_fault(str(error), file) from error
        if mask.values.ndim != 3:
            raise at_fault("a panoptic mask is RGB: id = R + 256 G + 65536 B", file)
        ids = mask.values.astype(np.uint32) @ np.array([1, 256, 65536], dtype=np.uint32)
        label = np.zeros(ids.shape, dtype=np.uint8)
        for number in np.unique(ids).tolist():
            if number == 0:
                continue
            if number not in segments:
                raise at_fault(f"segment {number} is not in segments_info", file)
            label[ids == number] = self._value(segments[number], entry)
        return label

    def _value(self, category: int, entry: Entry) -> int:
        if category not in self._values:
            file = self._index.files[entry.file]
            raise at_fault(f"{entry.name} has category {category}, which is not listed", file)
        return self._values[category]


def _split(file: str) -> str | None:
    """Return the split that a JSON file's folder or name tells of."""
    folder = posixpath.basename(posixpath.dirname(file)).lower()
    if folder in SPLIT_FOLDERS:
        return SPLIT_FOLDERS[folder]
    words = posixpath.basename(file).removesuffix(".json").lower().replace("-", "_").split("_")
    for word in words:
        if (name := word.rstrip("0123456789")) in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[name]
    return None
