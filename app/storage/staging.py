"""Bytes on their way into a store: written to a file, counted and checksummed."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.storage.base import chunks
from app.storage.blobs import Blob
from app.storage.errors import TooLargeError, told


@contextmanager
def written(folder: Path, stream: BinaryIO, limit: int | None) -> Iterator[tuple[Path, Blob]]:
    """Write all of `stream` to a file of its own in `folder`, which goes at the end of the block.

    Raises:
        TooLargeError: the stream has more than `limit` bytes.
        BlobStoreDownError: the folder cannot be written.
    """
    with told():
        handle, name = tempfile.mkstemp(dir=folder)
    path = Path(name)
    try:
        with told():
            blob = _write(handle, stream, limit)
        yield path, blob
    finally:
        with suppress(OSError):  # where the disk is gone it stays, for the collector
            path.unlink(missing_ok=True)


def _write(handle: int, stream: BinaryIO, limit: int | None) -> Blob:
    digest = hashlib.sha256()
    size = 0
    with os.fdopen(handle, "wb") as out:
        for chunk in chunks(stream):
            size += len(chunk)
            if limit is not None and size > limit:
                raise TooLargeError(f"more than {limit} bytes")
            digest.update(chunk)
            out.write(chunk)
    return Blob(digest.hexdigest(), size)
