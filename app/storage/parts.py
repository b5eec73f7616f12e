"""Parts of large uploads: bytes on their way, before anybody knows what they are together."""

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from app.storage.base import CHUNK_BYTES, chunks
from app.storage.blobs import Entry
from app.storage.errors import BlobMissingError, told
from sats_core.files import sync

PARTS = "parts/"
"""What the name of all parts of an upload begins with, as a write that has not ended."""


@dataclass(frozen=True)
class Address:
    """Where somebody may put a part without a key of ours.

    Attributes:
        url: takes the bytes, by `PUT`, until it expires.
        headers: that the request must have.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict)


class PartStore(ABC):
    """Parts by upload and number. Whoever puts one twice puts it in place of the one before.

    A part is there whole or not at all. Nobody has looked at what is in it, or how long it is.
    """

    @abstractmethod
    def addresses(
        self, upload: str, numbers: Sequence[int], seconds: float
    ) -> list[Address] | None:
        """Return where to put parts past the service, for so long; None: they come through it.

        Raises:
            BlobStoreDownError: nothing can be signed now.
        """

    @abstractmethod
    def put(self, upload: str, number: int, stream: BinaryIO) -> None:
        """Store all of `stream` as a part.

        Raises:
            BlobStoreDownError: the store cannot be written.
        """

    @abstractmethod
    def sizes(self, upload: str) -> dict[int, int]:
        """Return the bytes of every part that is there, by number.

        Raises:
            BlobStoreDownError: nobody can tell.
        """

    @abstractmethod
    def read(self, upload: str, number: int) -> Iterator[bytes]:
        """Yield a part's bytes, piece by piece.

        Raises:
            BlobMissingError: there is no such part.
            BlobStoreDownError: it cannot be read.
        """

    @abstractmethod
    def remove(self, upload: str) -> None:
        """Remove every part; none is no error."""

    @abstractmethod
    def left(self) -> Iterator[Entry]:
        """Yield uploads that have parts: `parts/` and the id, their bytes, when one came last."""


class LocalParts(PartStore):
    """A folder for each upload, and in it a file for each part; they come through the service.

    Args:
        root: holds the folders; made when the first part comes.
        check: raises an OSError where the store that it lies in is not there.
    """

    def __init__(self, root: Path, check: Callable[[], object]) -> None:
        self._root = root
        self._check = check

    def addresses(
        self, _upload: str, _numbers: Sequence[int], _seconds: float
    ) -> list[Address] | None:
        """See `PartStore.addresses`."""
        return None

    def put(self, upload: str, number: int, stream: BinaryIO) -> None:
        """See `PartStore.put`: temporary name, fsync, rename."""
        folder = self._root / upload
        with told():
            self._check()
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder)
        draft = Path(name)
        try:
            with told(), os.fdopen(handle, "wb") as out:
                shutil.copyfileobj(stream, out, CHUNK_BYTES)
            with told():
                sync(draft)
                draft.replace(folder / str(number))
                sync(folder)
        finally:
            draft.unlink(missing_ok=True)

    def sizes(self, upload: str) -> dict[int, int]:
        """See `PartStore.sizes`."""
        with told():
            self._check()
            files = _files(self._root / upload)
            return {int(path.name): size for path, size, _ in files if path.name.isdecimal()}

    def read(self, upload: str, number: int) -> Iterator[bytes]:
        """See `PartStore.read`."""
        try:
            stream = (self._root / upload / str(number)).open("rb")
        except FileNotFoundError as error:
            with told():
                self._check()
            raise BlobMissingError(f"part {number} of {upload}") from error
        with stream, told():
            yield from chunks(stream)

    def remove(self, upload: str) -> None:
        """See `PartStore.remove`; where one is just being put it stays for the collector."""
        with told():
            for path, _, _ in _files(self._root / upload):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            (self._root / upload).rmdir()

    def left(self) -> Iterator[Entry]:
        """See `PartStore.left`."""
        for folder in list(self._root.iterdir()) if self._root.is_dir() else []:
            with suppress(FileNotFoundError):  # it went since the folder was read
                files = list(_files(folder))
                last = max((modified for _, _, modified in files), default=folder.stat().st_mtime)
                yield Entry(PARTS + folder.name, sum(size for _, size, _ in files), last)


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Yield each file of a folder with its bytes and its time."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        with suppress(FileNotFoundError):
            state = path.stat()
            yield path, state.st_size, state.st_mtime
