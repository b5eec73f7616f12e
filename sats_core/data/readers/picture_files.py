"""Finding the pictures that annotation files name, however they write the way to them."""

import posixpath
from collections.abc import Iterable, Sequence

from sats_core.data.names import is_junk, name_fault
from sats_core.data.readers.paired import PICTURE_SUFFIXES


def is_picture(name: str) -> bool:
    """Return whether a file is a picture, by its suffix."""
    return name.rpartition(".")[2].lower() in PICTURE_SUFFIXES


def id_of(named: str, file: str) -> str:
    """Return the id of a picture: what an annotation file calls it, without suffix.

    Where that is no safe name, which a zip of the pictures that are kept could not have, the
    picture's own.
    """
    name = posixpath.normpath(named)
    if name_fault(named) or is_junk(name):
        name = file
    return name.rpartition(".")[0] or name


class PictureFiles:
    """The pictures of a data set, by full name and, where only one is called so, by the last part.

    Attributes:
        names: of all pictures, sorted.
        names_set: the same.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(name for name in names if is_picture(name)))
        self.names_set = frozenset(self.names)
        self._by_base: dict[str, str | None] = {}
        for name in self.names:
            base = posixpath.basename(name)
            for called in {base, base.rpartition(".")[0]}:
                self._by_base[called] = None if called in self._by_base else name

    def find(self, named: str, folders: Sequence[str]) -> str | None:
        """Return the picture that an annotation file names; None where it is not there.

        Args:
            named: its name, with or without folders.
            folders: where to look first; then anywhere, by the last part alone.
        """
        for folder in folders:
            name = posixpath.normpath(posixpath.join(folder, named))
            if name in self.names_set:
                return name
        return self._by_base.get(posixpath.basename(named))
