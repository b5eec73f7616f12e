"""Finding the pictures that annotation files name, however they write the way to them."""

import posixpath
from collections.abc import Iterable, Sequence

from sats_core.data.readers.paired import PICTURE_SUFFIXES


def is_picture(name: str) -> bool:
    """Return whether a file is a picture, by its suffix."""
    return name.rpartition(".")[2].lower() in PICTURE_SUFFIXES


class PictureFiles:
    """The pictures of a data set, by full name and, where only one is called so, by the last part.

    Attributes:
        names: of all pictures, sorted.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(name for name in names if is_picture(name)))
        self._names = set(self.names)
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
            if name in self._names:
                return name
        return self._by_base.get(posixpath.basename(named))
