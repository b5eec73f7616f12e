"""A data set in a zip."""

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from sats_core.data.sources.base import Source, fault_of, found_in, named
from sats_core.errors import DatasetError
from sats_core.settings import Limits

MAX_RATIO = 200
"""Unpacked bytes that an archive may hold per byte of its own, beyond `RATIO_FREE_BYTES`."""
RATIO_FREE_BYTES = 256 * 2**20

_DIRECTORY_BYTES = 160
"""Bytes that a zip's directory may spend per entry, on average: 46, a name and extra fields."""
_DEFLATE_SLACK = 2**20
"""Bytes by which packed data may be longer than what it unpacks to, headers included."""
_PIECE = 2**18
_BUFFER = 2**16
"""Bytes that are asked for at once where a zip lies elsewhere."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Opener = Callable[[], io.RawIOBase]
"""Opens a zip that lies elsewhere: of it only what is looked at is read."""
Archive = Path | Opener


class ZipSource(Source):
    """A zip, whose directory is judged before anything in it is unpacked.

    Raises:
        DatasetError: not a zip; too many entries or bytes; a bomb; a name that is absolute, climbs
            out, has a drive or a backslash, or comes twice; a link; an encrypted entry; a
            compression other than deflate.
    """

    def __init__(self, archive: Archive, limits: Limits) -> None:
        super().__init__(limits)
        self._place = archive
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
        return found_in(self._members, name).file_size

    def read(self, name: str, most: int | None = None) -> bytes:
        """See `Source.read`."""
        info = found_in(self._members, name)
        self._check_size(name, info.file_size, most)
        if self._process != os.getpid():
            self.close()  # a forked process shares its parent's place in the file
            self._open()
        try:
            return self._unpacked(info)
        except _ZIP_FAULTS as error:
            raise fault_of("damaged inside the zip", name, "unreadable") from error

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """See `Source.stream`."""
        info = found_in(self._members, name)
        self._check_size(name, info.file_size)
        try:
            opened = self._archive.open(info)
        except _ZIP_FAULTS as error:
            raise fault_of("damaged inside the zip", name, "unreadable") from error
        try:
            with opened as file:
                yield cast(BinaryIO, file)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
            # Fewer faults than when reading: the caller's own errors pass through here too.
            raise fault_of("damaged inside the zip", name, "unreadable") from error

    def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
        """Return an entry piece by piece: read at once, `zipfile` unpacks all that was packed, and
        only then cuts it to the size that the entry claims."""
        out = io.BytesIO()
        with self._archive.open(info) as file:
            while piece := file.read(_PIECE):
                out.write(piece)
        return out.getvalue()

    def close(self) -> None:
        """See `Source.close`."""
        self._archive.close()
        self._file.close()

    def __reduce__(self) -> tuple[type["ZipSource"], tuple[Archive, Limits]]:
        return ZipSource, (self._place, self.limits)

    def _open(self) -> None:
        self._process = os.getpid()
        self._file = _BoundedFile(self._place, _DIRECTORY_BYTES * self.limits.max_entries)
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
        if unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * self._file.size:
            raise DatasetError(f"the zip unpacks to more than {MAX_RATIO} times its size")
        files = [entry for entry in entries if not entry.orig_filename.endswith("/")]
        return named(files, lambda entry: entry.orig_filename, _entry_fault)


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

    def __init__(self, archive: Archive, most: int) -> None:
        super().__init__(
            io.FileIO(archive) if isinstance(archive, Path) else archive(), buffer_size=_BUFFER
        )
        self.most = most
        self.size = self.seek(0, io.SEEK_END)
        self.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise _TooLargeReadError
        return super().read(size)


def _entry_fault(entry: zipfile.ZipInfo) -> str | None:
    if entry.flag_bits & 1:
        return "encrypted"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "a link or device, not a file"
    return None if entry.compress_type in _METHODS else "compressed by something else than deflate"
