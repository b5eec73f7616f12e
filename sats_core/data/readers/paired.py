"""What layouts of picture files beside mask files have in common."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from sats_core.data.pictures import decode_mask
from sats_core.data.readers.base import Pixels, Reader, at_fault, code_of, missing_at
from sats_core.data.readers.class_list import ClassList
from sats_core.data.sources import Source
from sats_core.errors import PictureError

PICTURE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"})
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Folder that a split's files lie in -> name of the split."""


class MaskReader(Reader):
    """Picture files with a mask file each, and a class list."""

    _list: ClassList
    _files: Mapping[str, tuple[str, str]]
    """Picture and mask of each id."""

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
            raise at_fault(str(error), file, code=code_of(error)) from error
        return self._list.label(mask, file)


class PairedReader(MaskReader):
    """Picture files in one folder, masks of the same names in another, and a class list."""

    pictures: ClassVar[str]
    """Folder of the pictures."""
    masks: ClassVar[str]
    """Folder of the masks."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        names = source.names()
        self._list = self._class_list()
        self.classes = self._list.classes
        pictures = self._by_id(names, self.pictures, PICTURE_SUFFIXES)
        masks = self._by_id(names, self.masks, {"png"})
        for folder, found in ((self.pictures, pictures), (self.masks, masks)):
            if not found:
                raise missing_at(f"no files in {folder}", folder)
        self.ids = tuple(sorted(pictures.keys() & masks.keys()))
        if not self.ids:
            first = min(pictures.values())
            raise missing_at(
                f"no picture has a mask: {self.pictures}NAME.jpg goes with {self.masks}NAME.png, "
                f"but there is no mask for {first}",
                first,
            )
        self._files = {i: (pictures[i], masks[i]) for i in self.ids}
        self.unpaired = tuple(
            sorted(found[i] for found in (pictures, masks) for i in found if i not in self._files)
        )
        self.splits = self._read_splits(names)

    @abstractmethod
    def _class_list(self) -> ClassList:
        """Read the class list.

        Raises:
            DatasetError: there is none, or it is wrong.
        """

    def _read_splits(self, names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:  # noqa: ARG002
        """Return the splits that the folders of the pictures' files are named after."""
        splits: dict[str, list[str]] = {}
        for picture_id in self.ids:
            split = split_folder(self._files[picture_id][0].removeprefix(self.pictures))
            if split:
                splits.setdefault(SPLIT_FOLDERS[split], []).append(picture_id)
        return {name: tuple(ids) for name, ids in sorted(splits.items())}

    def _stem(self, stem: str) -> str:
        """Return the id of a file, given its name below its folder, without suffix."""
        split = split_folder(stem)
        return stem[len(split) + 1 :] if split else stem

    def _by_id(
        self, names: Sequence[str], folder: str, suffixes: frozenset[str] | set[str]
    ) -> dict[str, str]:
        """Return the files of a folder by id."""
        found: dict[str, str] = {}
        for name in names:
            stem, dot, suffix = name.removeprefix(folder).rpartition(".")
            if not (name.startswith(folder) and dot and suffix.lower() in suffixes):
                continue
            picture_id = self._stem(stem)
            if picture_id in found:
                raise at_fault(
                    f"{found[picture_id]} has the same name but for the suffix or the split", name
                )
            found[picture_id] = name
        return found


def split_folder(name: str) -> str | None:
    """Return the first folder of a name where a split is called so."""
    head, slash, _ = name.partition("/")
    return head if slash and head in SPLIT_FOLDERS else None


def split_of_path(name: str) -> tuple[str | None, str]:
    """Return the split that a folder of a name tells of, and the name behind that folder."""
    folders = name.split("/")
    for place, folder in enumerate(folders[:-1]):
        if folder.lower() in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[folder.lower()], "/".join(folders[place + 1 :])
    return None, name
