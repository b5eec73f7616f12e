"""What a blob store can do."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1024 * 1024


class BlobMissingError(Exception):
    """No blob has this key."""


class TooLargeError(Exception):
    """More bytes came than the caller allowed; nothing was kept."""


@dataclass(frozen=True)
class Blob:
    """A stored blob: its key (hex SHA-256) and size in bytes."""

    key: str
    size: int


def chunks(stream: BinaryIO) -> Iterable[bytes]:
    """Read a stream piece by piece, so that its size never sits in memory."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


class BlobStore(ABC):
    """Immutable blobs by content. Safe for many processes at once."""

    @abstractmethod
    def put(self, stream: BinaryIO, limit: int | None = None) -> Blob:
        """Store all of `stream`; a blob that is there already is not written twice.

        Nothing is visible before every byte is on disk and checksummed.

        Raises:
            TooLargeError: the stream has more than `limit` bytes.
        """

    @abstractmethod
    def path(self, key: str) -> Path:
        """Return a local file that holds the blob; it must not be changed.

        Raises:
            BlobMissingError: no such blob.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a blob; one that is not there is no error."""

    def put_file(self, path: Path) -> Blob:
        """Store the content of a file."""
        with path.open("rb") as stream:
            return self.put(stream)
