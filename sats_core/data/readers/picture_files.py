"""Finding the pictures that annotation files name, however they write the way to them."""

import posixpath
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from sats_core.data.names import is_junk, name_fault
from sats_core.data.readers.base import at_fault
from sats_core.data.readers.paired import PICTURE_SUFFIXES

T = TypeVar("T")


class Listed(NamedTuple, Generic[T]):
    """A picture as an annotation file lists it.

    Attributes:
        what: the reader's own account of it.
        name: with or without folders.
        annotation: the file that lists it.
        folders: where to look first.
        lasts: what else it may be called, anywhere; without any, the last part of `name`.
    """

    what: T
    name: str
    annotation: str
    folders: Sequence[str]
    lasts: Sequence[str] = ()


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
        return self._inside(named, folders) or self._by_base.get(posixpath.basename(named))

    def match(self, listed: Iterable[Listed[T]]) -> dict[str, Listed[T]]:
        """Return the listed pictures that are there, by their files.

        A picture that is not where it should be is the only file called so, unless that lies in
        another folder and another listed picture is exactly that file.

        Raises:
            DatasetError: two of them are one file.
        """
        found: dict[str, Listed[T]] = {}
        astray: list[tuple[str, Listed[T]]] = []
        for one in listed:
            if (file := self._inside(one.name, one.folders)) is not None:
                _claim(found, file, one)
            elif (file := self._elsewhere(one)) is not None:
                astray.append((file, one))
        exact = frozenset(found)
        for file, one in astray:
            if file not in exact or _folders_agree(one.name, file):
                _claim(found, file, one)
        return found

    def _inside(self, named: str, folders: Sequence[str]) -> str | None:
        for folder in folders:
            name = posixpath.normpath(posixpath.join(folder, named))
            if name in self.names_set:
                return name
        return None

    def _elsewhere(self, one: Listed[T]) -> str | None:
        for last in one.lasts or (posixpath.basename(one.name),):
            file = self._by_base.get(last, last if last in self.names_set else None)
            if file is not None:
                return file
        return None


def _claim(found: dict[str, Listed[T]], file: str, one: Listed[T]) -> None:
    other = found.setdefault(file, one)
    if other is not one:
        reason = f"{file} is listed twice: as {other.name} in {other.annotation}, and as {one.name}"
        raise at_fault(reason, one.annotation, code="repeated")


def _folders_agree(named: str, file: str) -> bool:
    """Return whether one's folders are the last of the other's, or one has none."""
    listed = posixpath.dirname(posixpath.normpath(named)).strip("/")
    there = posixpath.dirname(file)
    shorter, longer = sorted((listed, there), key=len)
    return not shorter or f"/{longer}".endswith(f"/{shorter}")
