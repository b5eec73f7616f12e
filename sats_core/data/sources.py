"""Where a data set's files lie: a zip or a directory behind one interface.

Nothing is ever unpacked to disk: a member is read into memory when it is asked for, under a limit.
"""

import io
import os
import posixpath
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast

from sats_core.data.names import common_folder, is_junk, name_fault, printable
from sats_core.errors import DatasetError, Issue
from sats_core.settings import Limits

MAX_RATIO = 200
"""Unpacked bytes that an archive may hold per byte of its own, beyond `RATIO_FREE_BYTES`."""
RATIO_FREE_BYTES = 256 * 2**20

_DIRECTORY_BYTES = 160
"""Bytes that a zip's directory may spend per entry, on average: 46, a name and extra fields."""
_DEFLATE_SLACK = 2**20
"""Bytes by which packed data may be longer than what it unpacks to, headers included."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
T = TypeVar("T")


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
    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            DatasetError: no such file, damaged, or larger than `limits.max_file_bytes`.
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

    def _check_size(self, name: str, size: int) -> None:
        if size > self.limits.max_file_bytes:
            raise _fault(f"larger than {self.limits.max_file_bytes} bytes", name)


class ZipSource(Source):
    """A zip, whose directory is judged before anything in it is unpacked.

    Raises:
        DatasetError: not a zip; too many entries or bytes; a bomb; a name that is absolute, climbs
            out, has a drive or a backslash, or comes twice; a link; an encrypted entry; a
            compression other than deflate.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(limits)
        self.path = path
        self._open()
        try:
            self._members = self._judged(self._archive.infolist())
        except DatasetError:
            self.close()
            raise

    def names(self) -> Sequence[str]:
        """See `Source.names`."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """See `Source.size`."""
        return _found(self._members, name).file_size

    def read(self, name: str) -> bytes:
        """See `Source.read`."""
        info = _found(self._members, name)
        self._check_size(name, info.file_size)
        if self._process != os.getpid():
            self.close()  # a forked process shares its parent's place in the file
            self._open()
        try:
            return self._archive.read(info)
        except _ZIP_FAULTS as error:
            raise _fault("damaged inside the zip", name) from error

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """See `Source.stream`."""
        info = _found(self._members, name)
        self._check_size(name, info.file_size)
        try:
            with self._archive.open(info) as file:
                yield cast(BinaryIO, file)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
            # Fewer faults than when reading: the caller's own errors pass through here too.
            raise _fault("damaged inside the zip", name) from error

    def close(self) -> None:
        """See `Source.close`."""
        self._archive.close()
        self._file.close()

    def __reduce__(self) -> tuple[type["ZipSource"], tuple[Path, Limits]]:
        return ZipSource, (self.path, self.limits)

    def _open(self) -> None:
        self._process = os.getpid()
        self._file = _BoundedFile(self.path, _DIRECTORY_BYTES * self.limits.max_entries)
        try:
            self._archive = zipfile.ZipFile(self._file)
        except _TooLargeReadError as error:
            self._file.close()
            raise DatasetError(
                f"the zip has more than {self.limits.max_entries} entries"
            ) from error
        except _ZIP_FAULTS as error:
            self._file.close()
            raise DatasetError("the data set is not a zip file, or a damaged one") from error
        self._file.most = self.limits.max_file_bytes + _DEFLATE_SLACK

    def _judged(self, entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        if len(entries) > self.limits.max_entries:
            raise DatasetError(f"the zip has more than {self.limits.max_entries} entries")
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > self.limits.max_unpacked_bytes:
            raise DatasetError(
                f"the zip unpacks to more than {self.limits.max_unpacked_bytes} bytes"
            )
        if unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * self.path.stat().st_size:
            raise DatasetError(f"the zip unpacks to more than {MAX_RATIO} times its size")
        files = [entry for entry in entries if not entry.orig_filename.endswith("/")]
        return _named(files, lambda entry: entry.orig_filename, _entry_fault)


class DirectorySource(Source):
    """A directory. Links are followed only where they stay inside it.

    Raises:
        DatasetError: not a directory, too many files or bytes, or a link that leads out.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(limits)
        if not path.is_dir():
            raise DatasetError("the data set is not a directory")
        self.path = path.resolve()
        files = [Path(top, name) for top, _, names in os.walk(self.path) for name in names]
        if len(files) > limits.max_entries:
            raise DatasetError(f"the directory has more than {limits.max_entries} files")
        self._members = _named(
            files, lambda file: file.relative_to(self.path).as_posix(), self._fault
        )
        if sum(file.stat().st_size for file in files) > limits.max_unpacked_bytes:
            raise DatasetError(f"the directory has more than {limits.max_unpacked_bytes} bytes")

    def names(self) -> Sequence[str]:
        """See `Source.names`."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """See `Source.size`."""
        file = _found(self._members, name)
        try:
            return file.stat().st_size
        except OSError as error:
            raise _fault("cannot be read", name) from error

    def read(self, name: str) -> bytes:
        """See `Source.read`."""
        file = _found(self._members, name)
        try:
            self._check_size(name, file.stat().st_size)
            return file.read_bytes()
        except OSError as error:
            raise _fault("cannot be read", name) from error

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """See `Source.stream`."""
        file = _found(self._members, name)
        try:
            self._check_size(name, file.stat().st_size)
            with file.open("rb") as opened:
                yield opened
        except OSError as error:
            raise _fault("cannot be read", name) from error

    def close(self) -> None:
        """See `Source.close`; nothing stays open between reads."""

    def _fault(self, file: Path) -> str | None:
        target = file.resolve()
        if not target.is_relative_to(self.path):
            return "a link that leads out of the data set"
        return None if target.is_file() else "not a regular file"


class _TooLargeReadError(Exception):
    pass


_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,  # a name that is no UTF-8, a seek before the start
    NotImplementedError,
    RuntimeError,  # encrypted in the local header only
    _TooLargeReadError,
)


class _BoundedFile(io.BufferedReader):
    """A file of which no single read takes more than `most` bytes.

    `zipfile` takes a zip's whole directory in one read, however large it claims to be.
    """

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(io.FileIO(path))
        self.most = most

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise _TooLargeReadError
        return super().read(size)


def _named(
    files: Iterable[T], name_of: Callable[[T], str], fault_of: Callable[[T], str | None]
) -> dict[str, T]:
    """Return files by clean name, sorted, without junk and without the folder around everything."""
    members: dict[str, T] = {}
    issues = []
    for file in files:
        raw = name_of(file)
        name = posixpath.normpath(raw)
        if is_junk(name):
            continue
        fault = name_fault(raw) or fault_of(file)
        if fault is None and name in members:
            fault = "there twice"
        if fault:
            issues.append(Issue(fault, file=printable(raw)))
        members[name] = file
    if issues:
        first = issues[0]
        raise DatasetError(f"unsafe entry {first.file!r}: {first.reason}", issues)
    prefix = common_folder(members)
    return {name.removeprefix(prefix): members[name] for name in sorted(members)}


def _found(members: Mapping[str, T], name: str) -> T:
    found = members.get(name)
    if found is None:
        raise _fault("no such file", name)
    return found


def _entry_fault(entry: zipfile.ZipInfo) -> str | None:
    if entry.flag_bits & 1:
        return "encrypted"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "a link or device, not a file"
    return None if entry.compress_type in _METHODS else "compressed by something else than deflate"


def _fault(reason: str, name: str) -> DatasetError:
    shown = printable(name)
    return DatasetError(f"{shown}: {reason}", [Issue(reason, file=shown)])
