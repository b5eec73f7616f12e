"""Blobs in an object store, those used last on this host too."""

import errno
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import structlog

from app.storage.base import BlobStore
from app.storage.blobs import Blob, Entry, StagedBlob
from app.storage.bucket import INCOMING, Bucket
from app.storage.cache import BlobCache
from app.storage.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobRefusedError,
    BlobStoreDownError,
    SentInVainError,
    told,
)
from app.storage.keys import checked_key, is_key, stamp_of
from app.storage.parts import PARTS, PartStore
from app.storage.ranges import read_in_ranges
from app.storage.staging import written
from sats_core.data.sources import Archive

FAULT_SECONDS = 5.0
"""How long it is believed whether the bucket can be written: probes of it write an object."""
SMALL_BYTES = 4 * 1024**2

log = structlog.get_logger(__name__)


class ObjectBlobStore(BlobStore):
    """Objects `ab/abcdef...`, as in a local store's directory, and `incoming/` beside them.

    A blob is put where there is none and never overwritten. One that this host has is read without
    asking the bucket, as its bytes cannot be others.

    Args:
        bucket: where the blobs are.
        parts: of large uploads, in the same bucket.
        cache: those that this host has.
        staging: folder for files on their way; made if need be.
    """

    elsewhere = True

    def __init__(self, bucket: Bucket, parts: PartStore, cache: BlobCache, staging: Path) -> None:
        super().__init__()
        self._bucket = bucket
        self.parts = parts
        self._cache = cache
        self._staging = staging
        self._asking = threading.Lock()
        self._asked = False
        self._fault: str | None = None
        self._ask_again = 0.0
        staging.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def stage(self, stream: BinaryIO, limit: int | None = None) -> Iterator[StagedBlob]:
        """See `BlobStore.stage`."""
        with written(self._staging, stream, limit) as (path, blob), path.open("rb") as own:
            yield self._staged(own, path, blob)

    @contextmanager
    def stage_file(self, path: Path) -> Iterator[StagedBlob]:
        """See `BlobStore.stage_file`: it is sent from where it lies."""
        with path.open("rb") as stream:
            key = hashlib.file_digest(stream, "sha256").hexdigest()
            yield self._staged(stream, path, Blob(key, stream.tell()))

    def path(self, key: str) -> Path:
        """See `BlobStore.path`; checked as by `verified`, as a crash may have cut it off."""
        return self.verified(key)

    @contextmanager
    def in_places(self, key: str) -> Iterator[Archive]:
        """See `BlobStore.in_places`; what this host has it reads here."""
        if self._cache.find(key) is not None:
            with self.whole(key) as path:
                yield path
            return
        fetch = partial(self._bucket.read_range, _name(key))
        with read_in_ranges(self.size(key), fetch) as opener:
            yield opener

    def size(self, key: str) -> int:
        """See `BlobStore.size`."""
        return self._bucket.size(_name(key))

    def is_there(self, key: str) -> bool:
        """See `BlobStore.is_there`."""
        with suppress(BlobMissingError):
            self._bucket.size_soon(_name(key))
            return True
        return False

    def held(self, key: str, folder: Path) -> Path:
        """See `BlobStore.held`: `folder` gets a link to it."""
        target = folder / checked_key(key)
        with told():
            folder.mkdir(parents=True, exist_ok=True)
        self.path(key)
        while not self._cache.link(key, target):
            self.path(key)
        return target

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        self._cache.drop(key)
        self._bucket.delete_soon(_name(key))

    def entries(self) -> Iterator[Entry]:
        """See `BlobStore.entries`."""
        for entry in self._bucket.entries():
            folder, _, key = entry.name.partition("/")
            if is_key(key) and folder == key[:2]:
                yield Entry(key, entry.size, entry.modified)

    def unfinished(self) -> Iterator[Entry]:
        """See `BlobStore.unfinished`: what lies in the bucket, and on this host."""
        for entry in self._bucket.entries(INCOMING):
            yield Entry(entry.name.removeprefix(INCOMING), entry.size, entry.modified)
        with told():
            for path in list(self._staging.iterdir()):
                try:
                    state = path.stat()
                except FileNotFoundError:  # it was published, or given up, since
                    continue
                yield Entry(path.name, state.st_size, state.st_mtime)
        yield from self.parts.left()

    def discard(self, name: str) -> None:
        """See `BlobStore.discard`."""
        plain = Path(name).name
        if name.startswith(PARTS):
            self.parts.remove(plain)
            return
        with told():
            (self._staging / plain).unlink(missing_ok=True)
        self._bucket.delete(INCOMING + plain)

    def fault(self) -> str | None:
        """See `BlobStore.fault`: the bucket is asked every `FAULT_SECONDS`, by one at a time."""
        if not self._asking.acquire(blocking=not self._asked):
            return self._fault  # another one asks
        try:
            if time.monotonic() >= self._ask_again:
                self._fault = self._fault_now()
                self._ask_again = time.monotonic() + FAULT_SECONDS
                self._asked = True
        finally:
            self._asking.release()
        return self._fault

    def answers(self) -> bool:
        """See `BlobStore.answers`."""
        return self._fault_now() is None

    def _fault_now(self) -> str | None:
        try:
            self._bucket.try_to_write()
        except BlobRefusedError as error:
            log.warning("blob_store_refuses", error=str(error))
            return "refuses to be written"
        except BlobStoreDownError as error:
            log.warning("blob_store_unavailable", error=error.strerror)
            return "does not answer"
        return None

    def verified(self, key: str) -> Path:
        """See `BlobStore.verified`; what is damaged on this host alone is fetched again."""
        try:
            return super().verified(key)
        except BlobDamagedError:
            self._cache.drop(key)
            return super().verified(key)

    def check(self, key: str) -> None:
        """See `BlobStore.check`; nothing of it stays on this host."""
        digest = hashlib.sha256()
        for chunk in self._bucket.read(_name(key)).chunks:
            digest.update(chunk)
        if digest.hexdigest() != key:
            raise BlobDamagedError(key)

    def forget_deleted(self) -> None:
        """See `BlobStore.forget_deleted`."""
        for key in self._cache.all_keys():
            try:
                self.size(key)
            except BlobMissingError:
                self._cache.drop(key)

    def copies(self) -> Sequence[str]:
        """See `BlobStore.copies`."""
        return self._cache.all_keys()

    def drop_copy(self, key: str) -> bool:
        """See `BlobStore.drop_copy`."""
        return self._cache.drop_unused(key)

    def _file(self, key: str) -> Path:
        """Return this host's file of a blob, which may be damaged."""
        return self._cache.find(key) or self._fetched(key)

    def _staged(self, stream: BinaryIO, path: Path, blob: Blob) -> StagedBlob:
        """Return what puts a file's bytes there; of one that was replaced, those it had."""
        send, confirm = partial(self._send, stream, blob), partial(self._confirm, blob)
        return StagedBlob(blob, path, send=send, confirm=confirm)

    def _send(self, stream: BinaryIO, blob: Blob) -> None:
        """Put a file's bytes into the bucket, unless they are there.

        What is small is quicker put in vain than asked for.
        """
        if blob.size <= SMALL_BYTES or self._bucket.find(_name(blob.key)) != blob.size:
            self._create(stream, blob)

    def _confirm(self, blob: Blob) -> None:
        there = None
        with suppress(BlobMissingError):
            there = self._bucket.size_soon(_name(blob.key))
        if there != blob.size:
            raise SentInVainError(errno.EAGAIN, f"{blob.key} was deleted after it was sent")

    def _create(self, stream: BinaryIO, blob: Blob) -> None:
        name = _name(blob.key)
        there = self._bucket.create(name, stream, blob.size)
        if there != blob.size:  # whatever it is, these bytes are not it
            log.error("blob_damaged", blob=blob.key, size=there, expected=blob.size)
            self._bucket.delete(name)
            self._bucket.create(name, stream, blob.size)

    def _fetched(self, key: str) -> Path:
        """Fetch a blob; bytes that were damaged on the way are asked for once more."""
        fetch = partial(self._bucket.read, _name(key))
        try:
            path = self._cache.fill(key, fetch)
        except BlobDamagedError:
            log.warning("blob_came_damaged", blob=key)
            path = self._cache.fill(key, fetch)
        with told():
            self._note_whole(key, stamp_of(path.stat()))
        return path


def _name(key: str) -> str:
    return f"{checked_key(key)[:2]}/{key}"
