"""Blobs in a local or shared directory."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from app.storage.base import (
    Blob,
    BlobMissingError,
    BlobStore,
    Entry,
    StagedBlob,
    TooLargeError,
    chunks,
    told,
)
from sats_core.files import sync

_KEY = re.compile(r"[0-9a-f]{64}")
_FOLDER = re.compile(r"[0-9a-f]{2}")


class LocalBlobStore(BlobStore):
    """A directory of files `ab/abcdef...`, named by their content, and `incoming/` beside them."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def stage(self, stream: BinaryIO, limit: int | None = None) -> Iterator[StagedBlob]:
        """See `BlobStore.stage`: temporary name, checksum, fsync; publishing renames."""
        with told():
            handle, name = tempfile.mkstemp(dir=self._incoming)
        incoming = Path(name)
        try:
            with told():
                blob = _write(handle, stream, limit)
            yield StagedBlob(blob, incoming, partial(self._publish, incoming, blob.key))
        finally:
            with suppress(OSError):  # a store that is down keeps it, for the collector
                incoming.unlink(missing_ok=True)

    def path(self, key: str) -> Path:
        """See `BlobStore.path`."""
        target = self._target(key)
        with told():
            if not target.is_file():
                self._incoming.stat()  # a blob is missing only where its store is there
                raise BlobMissingError(key)
        return target

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        with told():
            self._target(key).unlink(missing_ok=True)

    def entries(self) -> Iterator[Entry]:
        """See `BlobStore.entries`; whatever else lies in the directory is none of its business."""
        for folder in list(self.root.iterdir()):
            if _FOLDER.fullmatch(folder.name) and folder.is_dir():
                blobs = (path for path in _files(folder) if _lies_right(path))
                yield from _described(blobs)

    def unfinished(self) -> Iterator[Entry]:
        """See `BlobStore.unfinished`."""
        return _described(_files(self._incoming))

    def discard(self, name: str) -> None:
        """See `BlobStore.discard`."""
        (self._incoming / Path(name).name).unlink(missing_ok=True)

    def _publish(self, incoming: Path, key: str) -> None:
        target = self._target(key)
        with told():
            target.parent.mkdir(exist_ok=True)
            incoming.replace(target)
            sync(target.parent)

    def _target(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise BlobMissingError(key)
        return self.root / key[:2] / key


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
        out.flush()
        os.fsync(out.fileno())
    return Blob(digest.hexdigest(), size)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def _lies_right(path: Path) -> bool:
    return _KEY.fullmatch(path.name) is not None and path.name.startswith(path.parent.name)


def _described(paths: Iterator[Path] | list[Path]) -> Iterator[Entry]:
    for path in paths:
        try:
            state = path.stat()
        except FileNotFoundError:  # it went since the folder was read
            continue
        yield Entry(path.name, state.st_size, state.st_mtime)
