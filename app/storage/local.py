"""Blobs in a local or shared directory."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import BinaryIO

from app.storage.base import Blob, BlobMissingError, BlobStore, TooLargeError, chunks

_KEY = re.compile(r"[0-9a-f]{64}")


class LocalBlobStore(BlobStore):
    """A directory of files `ab/abcdef...`, named by their content."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, stream: BinaryIO, limit: int | None = None) -> Blob:
        """See `BlobStore.put`: temporary name, checksum, fsync, rename."""
        digest = hashlib.sha256()
        size = 0
        handle, name = tempfile.mkstemp(dir=self._incoming)
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                for chunk in chunks(stream):
                    size += len(chunk)
                    if limit is not None and size > limit:
                        raise TooLargeError(f"more than {limit} bytes")
                    digest.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            target = self._target(digest.hexdigest())
            target.parent.mkdir(exist_ok=True)
            partial.replace(target)
            _fsync_directory(target.parent)
        finally:
            partial.unlink(missing_ok=True)
        return Blob(target.name, size)

    def path(self, key: str) -> Path:
        """See `BlobStore.path`."""
        target = self._target(key)
        if not target.is_file():
            raise BlobMissingError(key)
        return target

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        self._target(key).unlink(missing_ok=True)

    def _target(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise BlobMissingError(key)
        return self.root / key[:2] / key


def _fsync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
