"""Finding the pictures that annotation files name, however they write the way to them."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from sats_core.data.names import is_junk, name_fault
from sats_core.data.readers.base import at_fault
from sats_core.data.readers.paired import PICTURE_SUFFIXES
from sats_core.errors import DatasetError

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
            raise _both((other, file), picture_id, matched[file])
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
        self._by_stem: dict[str, tuple[str, ...]] = {}
        for name in self.names:
            stem = _without_suffix(name)
            self._by_stem[stem] = (*self._by_stem.get(stem, ()), name)
            base = posixpath.basename(name)
            for called in {base, base.rpartition(".")[0]}:
                self._by_base[called] = None if called in self._by_base else name

    def find(self, named: str, folders: Sequence[str]) -> str | None:
        """Return the picture that an annotation file names; None where it is not there.

        Args:
            named: its name, with or without folders.
            folders: where to look first; then anywhere, by the last part alone.
        """
        inside = (there for there in self._inside(named, folders) if len(there) == 1)
        return next(inside, (None,))[0] or self._by_base.get(posixpath.basename(named))

    def match(self, listed: Iterable[Listed[T]]) -> dict[str, Listed[T]]:
        """Return the listed pictures that are there, by their files.

        A picture that is not where it should be is the only file called so, unless another listed
        picture is exactly that file: then that lies in another folder, or where only the other is
        looked for, as the pictures of another subset are.

        Raises:
            DatasetError: two of them are one file, or one of them may be either of two.
        """
        found: dict[str, Listed[T]] = {}
        astray: list[tuple[str, Listed[T]]] = []
        for one in listed:
            if there := next(self._inside(one.name, one.folders), None):
                _claim(found, _only(there, one), one)
            elif (file := self._elsewhere(one)) is not None:
                astray.append((file, one))
        exact = dict(found)
        for file, one in astray:
            other = exact.get(file)
            if other is None or _may_be(one, other, file):
                _claim(found, file, one)
        return found

    def _inside(self, named: str, folders: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Yield the files of each folder that are called so, where there are any."""
        for folder in folders:
            name = posixpath.normpath(posixpath.join(folder, named))
            there = (name,) if name in self.names_set else self._by_stem.get(name, ())
            if there:
                yield there

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


def _only(there: Sequence[str], one: Listed[T]) -> str:
    if len(there) > 1:
        raise _both(there, _without_suffix(there[0]), one)
    return there[0]


def _both(files: Sequence[str], picture_id: str, listed: Listed[T]) -> DatasetError:
    reason = f"{files[0]} and {files[1]} are both picture {picture_id}"
    return at_fault(reason, listed.annotation)


def _may_be(one: Listed[T], other: Listed[T], file: str) -> bool:
    """Return whether one may mean the file that is exactly another."""
    return tuple(one.folders) == tuple(other.folders) and _folders_agree(one.name, file)


def _folders_agree(named: str, file: str) -> bool:
    """Return whether one's folders are the last of the other's, or one has none."""
    listed = posixpath.dirname(posixpath.normpath(named)).strip("/")
    there = posixpath.dirname(file)
    shorter, longer = sorted((listed, there), key=len)
    return not shorter or f"/{longer}".endswith(f"/{shorter}")
