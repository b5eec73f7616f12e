"""What a blob store can do."""

import errno
import hashlib
import io
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import structlog

from app.storage.blobs import Blob, Entry, StagedBlob
from app.storage.errors import (
    NO_MORE_FILES,
    NO_ROOM,
    BlobDamagedError,
    BlobMissingError,
    BlobStoreDownError,
    told,
)
from app.storage.keys import stamp_of

if TYPE_CHECKING:
    from app.storage.parts import PartStore
    from sats_core.data.sources import Archive

CHUNK_BYTES = 1024 * 1024
VERIFIED_SECONDS = 3600.0  # that a file is believed to be whole, while it does not change
MAX_VERIFIED = 10_000  # files that a process remembers to have found whole

log = structlog.get_logger(__name__)


def chunks(stream: BinaryIO) -> Iterable[bytes]:
    """Read a stream piece by piece, so that its size never sits in memory."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


class BlobStore(ABC):
    """Immutable blobs by content. Safe for many processes at once.

    Blobs are shared by whoever stored the same bytes. So nothing but `app.storage.references` and
    `app.storage.garbage`, which know who refers to a blob, may delete one.

    Attributes:
        elsewhere: whether the blobs are with a service of their own: while that is down, whoever
            has loaded what it needs goes on.
        parts: of large uploads that are to become blobs.
    """

    elsewhere: ClassVar[bool] = False
    parts: "PartStore"

    def __init__(self) -> None:
        self._verified: dict[str, tuple[tuple[int, ...], float]] = {}
        self._verified_lock = threading.Lock()

    @abstractmethod
    def stage(
        self, stream: BinaryIO, limit: int | None = None
    ) -> AbstractContextManager[StagedBlob]:
        """Write all of `stream` beside the store; what is not published inside is removed.

        Raises:
            TooLargeError: the stream has more than `limit` bytes.
            BlobStoreDownError: the store cannot be written.
        """

    @contextmanager
    def stage_file(self, path: Path) -> Iterator[StagedBlob]:
        """Do so with the content of a file that nobody changes any more, only replaces.

        Raises:
            OSError: it cannot be read; as of `stage`.
        """
        with path.open("rb") as stream, self.stage(stream) as staged:
            yield staged

    @abstractmethod
    def path(self, key: str) -> Path:
        """Return a local file that holds the blob, to be opened soon; it must not be changed.

        Raises:
            BlobMissingError: no such blob.
            BlobDamagedError: its bytes are seen not to be those that were stored; `verified` looks.
            BlobStoreDownError: nobody can tell, the store cannot be read.
        """

    @contextmanager
    def whole(self, key: str) -> Iterator[Path]:
        """Give a local file that holds a blob, to be opened in the block.

        Raises:
            BlobMissingError, BlobDamagedError, BlobStoreDownError: as of `path`, meanwhile too.
        """
        try:
            yield self.path(key)
        except FileNotFoundError as error:
            if self.is_there(key):
                raise  # it is another file that is missing
            raise BlobMissingError(key) from error

    def in_places(self, key: str) -> AbstractContextManager["Archive"]:
        """Give what reads a blob, a zip, for the block: of one elsewhere only what is looked at.

        What is read so is not checked against the key.

        Raises:
            BlobMissingError, BlobDamagedError, BlobStoreDownError: as of `path`, meanwhile too.
        """
        return self.whole(key)

    @abstractmethod
    def size(self, key: str) -> int:
        """Return how many bytes a blob has, without fetching it.

        Raises:
            BlobMissingError: no such blob.
            BlobStoreDownError: nobody can tell, the store cannot be read.
        """

    def is_there(self, key: str) -> bool:
        """Return whether there is such a blob, within seconds: locks may be held meanwhile.

        Raises:
            BlobStoreDownError: nobody can tell, the store cannot be read.
        """
        with suppress(BlobMissingError):
            self.size(key)
            return True
        return False

    @abstractmethod
    def held(self, key: str, folder: Path) -> Path:
        """Return a local file that holds the blob for as long as `folder` is there.

        Its name is the key. For whoever reads it for hours; see `path`.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a blob, within seconds, as locks are held; one that is not there is no error.

        Raises:
            BlobStoreDownError: the store cannot be written.
        """

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Give every blob, in no order; one that comes or goes meanwhile may be missing.

        Raises:
            BlobStoreDownError: nobody can tell, the store cannot be read.
        """

    @abstractmethod
    def unfinished(self) -> Iterator[Entry]:
        """Give every write that has not ended, or never will: its process may be gone.

        Raises:
            BlobStoreDownError: nobody can tell, the store cannot be read.
        """

    @abstractmethod
    def discard(self, name: str) -> None:
        """Remove what `unfinished` gave; one that is not there is no error.

        Raises:
            BlobStoreDownError: the store cannot be written.
        """

    @abstractmethod
    def fault(self) -> str | None:
        """Return why the store cannot be written now, soon and in a few words; None: it can.

        The words are for everybody: no address and nothing of what the store said is in them. What
        was found some seconds ago may be told again.
        """

    def answers(self) -> bool:
        """Return whether the store can be written now; one that is full is there all the same."""
        try:
            with self.stage(io.BytesIO()):
                return True
        except OSError as error:
            return error.errno in (*NO_ROOM, *NO_MORE_FILES)

    def put(self, stream: BinaryIO, limit: int | None = None) -> Blob:
        """Store all of `stream` at once.

        Nothing refers to the blob yet: it stays for the grace period of `app.storage.garbage`.

        Raises:
            TooLargeError: the stream has more than `limit` bytes.
        """
        with self.stage(stream, limit) as staged:
            return _stored(staged)

    def put_file(self, path: Path) -> Blob:
        """Store the content of a file at once; see `stage_file`."""
        with self.stage_file(path) as staged:
            return _stored(staged)

    def check(self, key: str) -> None:
        """Read every byte of a blob where it is kept, as `verified` does."""
        self.verified(key)

    @abstractmethod
    def forget_deleted(self) -> None:
        """Remove what this host alone has left of blobs that were deleted."""

    @abstractmethod
    def copies(self) -> Sequence[str]:
        """Return the key of every blob that this host has a copy of."""

    @abstractmethod
    def drop_copy(self, key: str) -> bool:
        """Remove this host's copy of a blob, if it has one; the blob stays where it is kept.

        Returns false where it was asked for lately: whoever asked may not have opened it yet.
        """

    def verified(self, key: str) -> Path:
        """Return a blob's local file once every byte of it was checked against the key.

        A file that this process found whole in the last hour, and that has not changed since, is
        not read again.

        Raises:
            BlobMissingError: no such blob.
            BlobDamagedError: its bytes are not those that were stored, or cannot be had any more.
            BlobStoreDownError: nobody can tell, the store cannot be read.
        """
        path = self._file(key)
        try:
            with told():
                stream = path.open("rb")
        except BlobStoreDownError as error:
            if error.errno != errno.ENOENT:
                raise
            self._file(key)  # says whether the whole store went since
            raise BlobMissingError(key) from error
        with stream:
            stamp = stamp_of(os.fstat(stream.fileno()))  # of the very bytes that are read below
            if self._verified_lately(key, stamp):
                return path
            if self._digest(stream) != key:
                log.error("blob_damaged", blob=key, path=str(path))
                raise BlobDamagedError(key)
        self._note_whole(key, stamp)
        return path

    def _digest(self, stream: io.BufferedReader) -> str | None:
        """Return a file's SHA-256; None: the disk cannot give its bytes, and works else."""
        try:
            with told():
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except BlobStoreDownError as error:
            if error.errno != errno.EIO or not self.answers():
                raise
            return None

    def _file(self, key: str) -> Path:
        """Return the file that is to be checked; raises as `path` does."""
        return self.path(key)

    def _note_whole(self, key: str, stamp: tuple[int, ...]) -> None:
        with self._verified_lock:
            if len(self._verified) >= MAX_VERIFIED:
                self._verified.clear()
            self._verified[key] = (stamp, time.monotonic())

    def _verified_lately(self, key: str, stamp: tuple[int, ...]) -> bool:
        with self._verified_lock:
            found, at = self._verified.get(key, ((), 0.0))
        return found == stamp and time.monotonic() - at < VERIFIED_SECONDS


def _stored(staged: StagedBlob) -> Blob:
    staged.send()
    staged.publish()
    return staged.blob
