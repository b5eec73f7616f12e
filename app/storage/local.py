"""Blobs in a local or shared directory."""

import errno
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import structlog

from app.storage.base import BlobStore
from app.storage.blobs import Entry, StagedBlob
from app.storage.errors import BlobMissingError, told
from app.storage.keys import checked_key, is_key
from app.storage.parts import PARTS, LocalParts
from app.storage.staging import written
from sats_core.files import sync

log = structlog.get_logger(__name__)

NOT_THERE = "none of the blobs that the database knows is there, is it not mounted"
_FOLDER = re.compile(r"[0-9a-f]{2}")


def _nothing() -> Collection[str]:
    return ()


class LocalBlobStore(BlobStore):
    """A directory of files `ab/abcdef...`, named by their content, and `incoming/` beside them.

    Where it cannot be made, the store is down: whoever opens it lives on, as with a bucket. So it
    is where others know blobs of it and there is neither one of them nor `incoming/`: that is the
    empty place of a disk that is not mounted.

    Args:
        root: the directory.
        known: gives the key of every blob that something refers to; may raise an OSError.
    """

    def __init__(self, root: Path, known: Callable[[], Collection[str]] = _nothing) -> None:
        super().__init__()
        self.root = root
        self._known = known
        self._incoming = root / "incoming"
        self._made = False
        self.parts = LocalParts(root / PARTS, self._be_there)
        try:
            self._make()
        except OSError as error:
            log.warning("store_not_there", folder=str(root), error=str(error))

    def _make(self) -> None:
        """Make its folders once; later it is down where they are gone, and not empty."""
        if self._made:
            return
        try:
            self._incoming.stat()
        except FileNotFoundError:
            self._check_new()
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._made = True

    def _be_there(self) -> None:
        """Check that the store is there.

        Raises:
            OSError: it is not.
        """
        self._make()
        self._incoming.stat()

    def _check_new(self) -> None:
        known = self._known()
        if known and not any(self._target(key).is_file() for key in known):
            raise OSError(errno.ENOENT, NOT_THERE, str(self.root))

    @contextmanager
    def stage(self, stream: BinaryIO, limit: int | None = None) -> Iterator[StagedBlob]:
        """See `BlobStore.stage`: temporary name, checksum, fsync; publishing renames."""
        with told():
            self._make()
        with written(self._incoming, stream, limit) as (incoming, blob):
            with told():
                sync(incoming)
            yield StagedBlob(blob, incoming, partial(self._publish, incoming, blob.key))

    def path(self, key: str) -> Path:
        """See `BlobStore.path`."""
        target = self._target(key)
        with told():
            if not target.is_file():
                self._be_there()  # a blob is missing only where its store is
                raise BlobMissingError(key)
        return target

    def size(self, key: str) -> int:
        """See `BlobStore.size`."""
        path = self.path(key)
        with told():
            try:
                return path.stat().st_size
            except FileNotFoundError as error:  # it went since
                raise BlobMissingError(key) from error

    def held(self, key: str, _folder: Path) -> Path:
        """See `BlobStore.held`: it stays where it is, as long as somebody refers to it."""
        return self.path(key)

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        with told():
            try:
                self._target(key).unlink()
            except FileNotFoundError:
                self._be_there()  # of a disk that is not mounted nothing was removed

    def entries(self) -> Iterator[Entry]:
        """See `BlobStore.entries`; whatever else lies in the directory is none of its business."""
        with told():
            self._be_there()
            folders = list(self.root.iterdir())
        for folder in folders:
            if _FOLDER.fullmatch(folder.name) and folder.is_dir():
                blobs = (path for path in _files(folder) if _lies_right(path))
                yield from _described(blobs)

    def unfinished(self) -> Iterator[Entry]:
        """See `BlobStore.unfinished`."""
        with told():
            self._be_there()
        yield from _described(_files(self._incoming))
        yield from self.parts.left()

    def discard(self, name: str) -> None:
        """See `BlobStore.discard`."""
        if name.startswith(PARTS):
            self.parts.remove(Path(name).name)
            return
        with told():
            (self._incoming / Path(name).name).unlink(missing_ok=True)

    def forget_deleted(self) -> None:
        """See `BlobStore.forget_deleted`: nothing is kept twice."""

    def copies(self) -> Sequence[str]:
        """See `BlobStore.copies`: nothing is kept twice."""
        return ()

    def drop_copy(self, _key: str) -> bool:
        """See `BlobStore.drop_copy`."""
        return True

    def fault(self) -> str | None:
        """See `BlobStore.fault`."""
        try:
            self._be_there()  # else it is the place of a disk that went
            with tempfile.TemporaryFile(dir=self.root) as file:
                file.write(b"ready")
        except OSError as error:
            return f"cannot be written: {error.strerror}"
        return None

    def _publish(self, incoming: Path, key: str) -> None:
        target = self._target(key)
        with told():
            target.parent.mkdir(exist_ok=True)
            incoming.replace(target)
            sync(target.parent)
            sync(self.root)  # the folder itself may be new

    def _target(self, key: str) -> Path:
        return self.root / checked_key(key)[:2] / key


def _files(folder: Path) -> list[Path]:
    with told():
        return [path for path in folder.iterdir() if path.is_file()]


def _lies_right(path: Path) -> bool:
    return is_key(path.name) and path.name.startswith(path.parent.name)


def _described(paths: Iterator[Path] | list[Path]) -> Iterator[Entry]:
    for path in paths:
        with told():
            try:
                state = path.stat()
            except FileNotFoundError:  # it went since the folder was read
                continue
        yield Entry(path.name, state.st_size, state.st_mtime)
