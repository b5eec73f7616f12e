"""What every source is, and how names are taken in."""

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from sats_core.data.names import common_folder, is_junk, name_fault, printable
from sats_core.errors import DatasetError, Issue
from sats_core.settings import Limits

T = TypeVar("T")

MOST_ISSUES = 100
"""Of unsafe entries that are named; a zip can have as many as it has entries."""


class Source(ABC):
    """The files of a data set, by names with forward slashes.

    A folder that everything lies in is left out of the names; hidden files and what macOS and
    Windows add by themselves do not appear. Safe for several threads and for forked processes.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Return every file's name, sorted."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return a file's size in bytes, as the zip or the directory says.

        Raises:
            DatasetError: no such file.
        """

    @abstractmethod
    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes.

        Args:
            name: of the file.
            most: bytes that it may have; by default `limits.max_file_bytes`.

        Raises:
            DatasetError: no such file, damaged, or too large.
        """

    @abstractmethod
    def stream(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file to be read piece by piece, so that its size never sits in memory.

        Raises:
            DatasetError: as `read`, on entering or while the file is read.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of open files; closing twice is no error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_size(self, name: str, size: int, most: int | None = None) -> None:
        most = self.limits.max_file_bytes if most is None else most
        if size > most:
            raise fault_of(f"larger than {most} bytes", name, "too_large")


def named(
    files: Iterable[T], name_of: Callable[[T], str], judge: Callable[[T], str | None]
) -> dict[str, T]:
    """Return files by clean name, sorted, without junk and without the folder around everything.

    Args:
        files: in any order.
        name_of: gives a file's name as it stands.
        judge: says what is wrong with a file; None where nothing is.

    Raises:
        DatasetError: naming files that are not safe or there twice, the first `MOST_ISSUES`.
    """
    members: dict[str, T] = {}
    issues = []
    for file in files:
        raw = name_of(file)
        name = posixpath.normpath(raw)
        if is_junk(name):
            continue
        fault = name_fault(raw) or judge(file)
        if fault is None and name in members:
            fault = "there twice"
        if fault:
            issues.append(Issue(fault, file=printable(raw)))
        members[name] = file
    if issues:
        first = issues[0]
        more = f"; {len(issues)} in all" if len(issues) > MOST_ISSUES else ""
        message = f"unsafe entry {first.file!r}: {first.reason}{more}"
        raise DatasetError(message, issues[:MOST_ISSUES])
    prefix = common_folder(members)
    return {name.removeprefix(prefix): members[name] for name in sorted(members)}


def found_in(members: Mapping[str, T], name: str) -> T:
    """Return a member.

    Raises:
        DatasetError: no such file.
    """
    found = members.get(name)
    if found is None:
        raise fault_of("no such file", name, "missing")
    return found


def fault_of(reason: str, name: str, code: str) -> DatasetError:
    """Return the error that names a file and what is wrong with it."""
    shown = printable(name)
    return DatasetError(f"{shown}: {reason}", [Issue(reason, file=shown, code=code)])
