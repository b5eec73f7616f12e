"""COCO JSON: instances, stuff or panoptic, as COCO, CVAT, Label Studio and Roboflow write it."""

import posixpath
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.bands import row_bands
from sats_core.data.pictures import decode_mask
from sats_core.data.readers.base import Pixels, Reader, at_fault, code_of, missing_at
from sats_core.data.readers.class_list import BACKGROUND_NAMES, indexed_classes
from sats_core.data.readers.coco_index import CocoIndex, Entry
from sats_core.data.readers.coco_shapes import Runs, ShapeError, painted, shape_runs
from sats_core.data.readers.json_start import json_starts
from sats_core.data.readers.paired import SPLIT_FOLDERS
from sats_core.data.readers.picture_files import Listed, PictureFiles, ids_of, is_picture
from sats_core.data.sources import Source
from sats_core.errors import DatasetError, Issue, PictureError

VOID_NAMES = frozenset({"void", "ignore"})
"""Categories whose pixels count for nothing."""


LISTS = frozenset({"images", "annotations", "categories"})
_START_BYTES = 4096


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
        self._index = CocoIndex(source, json_files(source))
        self._values = self._label_values()
        self._pictures = PictureFiles(source.names())
        self._entries = self._found()
        self._masks = self._mask_names()
        self.ids = tuple(sorted(self._entries))
        if not self.ids:
            listing = self._index.files
            raise missing_at(
                f"no picture has an entry: none of the files that {', '.join(listing[:3])} lists "
                "is there",
                listing[0],
            )
        used = {file for _, file in self._entries.values()}
        used.update(self._masks.values())
        self.unpaired = tuple(sorted(name for name in self._pictures.names if name not in used))
        self.splits = self._read_splits()

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return any(not start.listed and start.keys & LISTS for start in json_starts(source))

    @classmethod
    def glance(cls, source: Source) -> None:
        """See `Reader.glance`: the names, the files' sizes and how they begin; no file is parsed.

        Only whole files tell the classes, so it returns None.
        """
        names = source.names()
        files = json_files(source)
        if not any(is_picture(name) for name in names):
            raise missing_at(f"no picture is beside {', '.join(files[:3])}", files[0])
        for file in files:
            with source.stream(file) as stream:
                if not stream.read(_START_BYTES).lstrip().startswith(b"{"):
                    raise at_fault("not COCO JSON: it does not begin with {", file)

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
            raise at_fault(
                f"{len(kept)} categories; a mask holds at most {IGNORE - 1}", file, code="too_large"
            )
        self.classes = indexed_classes(kept, file).classes
        return values

    def _found(self) -> dict[str, tuple[Entry, str]]:
        """Return the entries whose picture is there, by the picture's id."""
        matched = self._pictures.match(self._listed(entry) for entry in self._index.pictures())
        return {
            picture_id: (matched[file].what, file) for file, picture_id in ids_of(matched).items()
        }

    def _listed(self, entry: Entry) -> Listed[Entry]:
        json = self._index.files[entry.file]
        folder, file = posixpath.split(json)
        subset = file.removesuffix(".json").partition("_")[2]  # CVAT: instances_SUBSET.json
        return Listed(entry, entry.name, json, (folder, f"images/{subset}", "", "images"))

    def _read_splits(self) -> dict[str, tuple[str, ...]]:
        splits: dict[str, list[str]] = {}
        for picture_id, (entry, _) in sorted(self._entries.items()):
            split = split_of(self._index.files[entry.file])
            if split:
                splits.setdefault(split, []).append(picture_id)
        return {name: tuple(ids) for name, ids in sorted(splits.items())}

    def picture_file(self, picture_id: str) -> str:
        """See `Reader.picture_file`."""
        return self._entries[picture_id][1]

    def mask_file(self, picture_id: str) -> str:
        """See `Reader.mask_file`: the JSON file, or a panoptic picture's PNG."""
        entry, _ = self._entries[picture_id]
        return self._masks.get((entry.file, entry.id)) or self._index.files[entry.file]

    def _mask_names(self) -> dict[tuple[int, int], str]:
        """Return the file of each panoptic mask, by its picture's entry."""
        used = {(entry.file, entry.id) for entry, _ in self._entries.values()}
        listed = {
            (at, id_): self._listed_mask(at, id_, name)
            for at, id_, name in self._index.panoptic_masks()
            if (at, id_) in used
        }
        matched = self._pictures.match(listed.values())
        masks = {mask.what: file for file, mask in matched.items()}
        for mask in listed.values():
            if mask.what not in masks:
                raise at_fault(
                    f"the panoptic mask {mask.name} is missing", mask.annotation, code="missing"
                )
        return masks

    def _listed_mask(self, at: int, id_: int, name: str) -> Listed[tuple[int, int]]:
        file = self._index.files[at]
        folders = (file.removesuffix(".json"), posixpath.dirname(file), "", "masks")
        return Listed((at, id_), name, file, folders)

    def label(self, picture_id: str) -> Pixels:
        """See `Reader.label`."""
        entry, _ = self._entries[picture_id]
        limit = self.source.limits.max_pixels
        file = self._index.files[entry.file]
        if entry.height * entry.width > limit:
            raise at_fault(
                f"picture {entry.name} has more than {limit} pixels", file, code="too_large"
            )
        if (entry.file, entry.id) in self._masks:
            return self._panoptic(entry)
        try:
            return painted(self._shapes(entry), entry.height, entry.width)
        except ShapeError as error:
            raise at_fault(f"a shape of {entry.name}: {error}", file) from error

    def _shapes(self, entry: Entry) -> Iterator[tuple[Runs, int]]:
        for category, segmentation in self._index.shapes(entry):
            runs = shape_runs(segmentation, entry.height, entry.width)
            yield runs, self._value(category, entry)

    def _panoptic(self, entry: Entry) -> Pixels:
        file = self._masks[entry.file, entry.id]
        try:
            mask = decode_mask(self.source.read(file), self.source.limits.max_pixels)
        except PictureError as error:
            raise at_fault(str(error), file, code=code_of(error)) from error
        if mask.values.ndim != 3:
            raise at_fault("a panoptic mask is RGB: id = R + 256 G + 65536 B", file)
        categories: dict[int, int | None] = {**self._index.segments(entry), 0: None}
        numbers = np.array(sorted(categories), dtype=np.int64)
        height, width = mask.values.shape[:2]
        label = np.zeros((height, width), dtype=np.uint8)
        for rows in row_bands(height, width):
            ids = mask.values[rows].astype(np.int64) @ np.array([1, 256, 65536])
            places = np.searchsorted(numbers, ids).clip(max=len(numbers) - 1)
            unknown = ids[numbers[places] != ids]
            if unknown.size:
                raise at_fault(
                    f"segment {unknown.min()} is not in segments_info", file, code="unknown"
                )
            values = np.zeros(len(numbers), dtype=np.uint8)
            for place in np.unique(places).tolist():
                category = categories[int(numbers[place])]
                values[place] = BACKGROUND if category is None else self._value(category, entry)
            label[rows] = values[places]
        return label

    def _value(self, category: int, entry: Entry) -> int:
        if category not in self._values:
            file = self._index.files[entry.file]
            raise at_fault(
                f"{entry.name} has category {category}, which is not listed", file, code="unknown"
            )
        return self._values[category]


def json_files(source: Source) -> tuple[str, ...]:
    """Return the JSON files, their sizes checked.

    Raises:
        DatasetError: together they are larger than `limits.max_annotation_bytes`.
    """
    files = tuple(name for name in source.names() if name.endswith(".json"))
    most = source.limits.max_annotation_bytes
    if sum(source.size(name) for name in files) > most:
        message = f"the .json files have more than {most} bytes together"
        largest = max(files, key=source.size)
        raise DatasetError(message, [Issue(message, file=largest, code="too_large")])
    return files


def split_of(file: str) -> str | None:
    """Return the split that a JSON file's folder or name tells of."""
    folder = posixpath.basename(posixpath.dirname(file)).lower()
    if folder in SPLIT_FOLDERS:
        return SPLIT_FOLDERS[folder]
    words = posixpath.basename(file).removesuffix(".json").lower().replace("-", "_").split("_")
    for word in words:
        if (name := word.rstrip("0123456789")) in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[name]
    return None
