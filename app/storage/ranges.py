"""Objects that are read in places, and not fetched as a whole."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.storage.errors import BlobMissingError, BlobStoreDownError
from sats_core.data.sources import Opener

Fetch = Callable[[int, int], bytes]
"""Returns an object's bytes: from which on, and how many."""


class _CutOffError(Exception):
    """A part of an object could not be read: no fault of what is in it."""

    def __init__(self, why: BlobStoreDownError | BlobMissingError) -> None:
        super().__init__()
        self.why = why


class RangedFile(io.RawIOBase):
    """An object as a file. Every read is a request: read it through a buffer.

    Args:
        size: its bytes.
        fetch: asks for some of them.
    """

    def __init__(self, size: int, fetch: Fetch) -> None:
        super().__init__()
        self._size = size
        self._fetch = fetch
        self._place = 0

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Read on from another place."""
        place = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence] + offset
        if place < 0:
            raise ValueError("before the start")
        self._place = place
        return place

    def readinto(self, buffer: "memoryview[int]", /) -> int:  # type: ignore[override]
        """Fill a buffer as far as there are bytes; 0 is the end."""
        count = min(len(buffer), self._size - self._place)
        if count <= 0:
            return 0
        try:
            found = self._fetch(self._place, count)
        except (BlobStoreDownError, BlobMissingError) as error:
            raise _CutOffError(
                error
            ) from error  # who reads a zip takes an OSError for the zip's fault
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


@contextmanager
def read_in_ranges(size: int, fetch: Fetch) -> Iterator[Opener]:
    """Give what opens an object, to be read in places inside of the block.

    Raises:
        BlobMissingError, BlobStoreDownError: it went, or could not be read, meanwhile.
    """
    try:
        yield lambda: RangedFile(size, fetch)
    except _CutOffError as cut:
        raise cut.why from None
