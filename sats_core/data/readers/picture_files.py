"""Finding the pictures that annotation files name, however they write the way to them."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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


def ids_of(matched: Mapping[str, Listed[T]]) -> dict[str, str]:
    """Return the id of each file that `PictureFiles.match` found, in its order.

    It is what the annotation file calls the picture, without suffix. Where several are called
    alike, as frames of several videos are in CVAT's subsets, each goes by its own way in the data
    set.

    Raises:
        DatasetError: two files are told apart by their suffix alone.
    """
    called = {file: _called(listed.name, file) for file, listed in matched.items()}
    counts = Counter(called.values())
    found: dict[str, str] = {}
    for file, name in called.items():
        picture_id = _without_suffix(file) if counts[name] > 1 else name
        other = found.setdefault(picture_id, file)
        if other != file:
            reason = f"{other} and {file} are both picture {picture_id}"
            raise at_fault(reason, matched[file].annotation)
    return {file: picture_id for picture_id, file in found.items()}


def _called(named: str, file: str) -> str:
    """Return what an annotation file calls a picture, without suffix.

    Where that is no safe name, which a zip of the pictures that are kept could not have, the
    picture's own.
    """
    name = posixpath.normpath(named)
    if name_fault(named) or is_junk(name):
        name = file
    return _without_suffix(name)


def _without_suffix(name: str) -> str:
    return name.rpartition(".")[0] or name


class PictureFiles:
    """The pictures of a data set, by full name and, where only one is called so, by the last part.

    Either with or without suffix, which CVAT leaves out of the names of a video's frames.

    Attributes:
        names: of all pictures, sorted.
        names_set: the same.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(name for name in names if is_picture(name)))
        self.names_set = frozenset(self.names)
        self._by_base: dict[str, str | None] = {}
        self._by_stem: dict[str, str | None] = {}
        for name in self.names:
            stem = _without_suffix(name)
            self._by_stem[stem] = None if stem in self._by_stem else name
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
            file = name if name in self.names_set else self._by_stem.get(name)
            if file is not None:
                return file
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
