"""The layout of Pascal VOC, and of what CVAT and others export under that name."""

from collections.abc import Sequence
from typing import ClassVar

from sats_core.data.pictures import decode_mask
from sats_core.data.readers.base import Pixels, Reader, at_fault
from sats_core.data.readers.class_list import ClassList, parse_classes, parse_labelmap
from sats_core.data.sources import Source
from sats_core.errors import DatasetError, PictureError

PICTURES = "JPEGImages/"
MASKS = "SegmentationClass/"
SPLITS = "ImageSets/Segmentation/"
PICTURE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"})
CLASS_LISTS = {"classes.txt": parse_classes, "labelmap.txt": parse_labelmap}


class VocReader(Reader):
    """JPEGImages/, SegmentationClass/, a class list, and splits where there are any.

    Masks hold class indices (`classes.txt`) or the list's colours (`labelmap.txt`); colour masks
    beside `classes.txt` are read with VOC's own colours.
    """

    layout: ClassVar[str] = (
        "Pascal VOC (JPEGImages/, SegmentationClass/*.png, classes.txt or labelmap.txt, "
        "optionally ImageSets/Segmentation/*.txt)"
    )

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        names = source.names()
        self._list = _class_list(source)
        self.classes = self._list.classes
        pictures = _by_id(names, PICTURES, PICTURE_SUFFIXES)
        masks = _by_id(names, MASKS, {"png"})
        for folder, found in ((PICTURES, pictures), (MASKS, masks)):
            if not found:
                raise DatasetError(f"no files in {folder}")
        self.ids = tuple(sorted(pictures.keys() & masks.keys()))
        if not self.ids:
            raise DatasetError(
                f"no picture has a mask: {PICTURES}NAME.jpg goes with {MASKS}NAME.png, "
                f"but there is no mask for {min(pictures.values())}"
            )
        self._files = {i: (pictures[i], masks[i]) for i in self.ids}
        self.unpaired = tuple(
            sorted(found[i] for found in (pictures, masks) for i in found if i not in self._files)
        )
        self.splits = self._read_splits(names)

    @classmethod
    def recognises(cls, names: Sequence[str]) -> bool:
        """See `Reader.recognises`."""
        return any(name.startswith((PICTURES, MASKS)) for name in names)

    def picture_file(self, picture_id: str) -> str:
        """See `Reader.picture_file`."""
        return self._files[picture_id][0]

    def mask_file(self, picture_id: str) -> str:
        """See `Reader.mask_file`."""
        return self._files[picture_id][1]

    def label(self, picture_id: str) -> Pixels:
        """See `Reader.label`."""
        file = self.mask_file(picture_id)
        try:
            mask = decode_mask(self.source.read(file), self.source.limits.max_pixels)
        except PictureError as error:
            raise at_fault(str(error), file) from error
        return self._list.label(mask, file)

    def _read_splits(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        splits = {}
        for name in names:
            if name.startswith(SPLITS) and name.endswith(".txt"):
                listed = self._listed(name)
                if listed:
                    splits[name[len(SPLITS) : -len(".txt")]] = listed
        return splits

    def _listed(self, file: str) -> tuple[str, ...]:
        """Return a split's pictures in the file's order, those without picture or mask left out."""
        try:
            text = self.source.read(file).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise at_fault("a split is UTF-8 text, one picture a line", file) from error
        lines = (line.strip().strip('"') for line in text.split("\n"))
        return tuple(dict.fromkeys(line for line in lines if line in self._files))


def _class_list(source: Source) -> ClassList:
    for name, parse in CLASS_LISTS.items():
        if name in source.names():
            return parse(source.read(name), name)
    raise DatasetError(f"no class list: {' or '.join(CLASS_LISTS)} is missing")


def _by_id(
    names: Sequence[str], folder: str, suffixes: frozenset[str] | set[str]
) -> dict[str, str]:
    """Return the files of a folder by name without folder and suffix."""
    found: dict[str, str] = {}
    for name in names:
        stem, dot, suffix = name.removeprefix(folder).rpartition(".")
        if not (name.startswith(folder) and dot and suffix.lower() in suffixes):
            continue
        if stem in found:
            raise at_fault(f"{found[stem]} has the same name but for the suffix", name)
        found[stem] = name
    return found
