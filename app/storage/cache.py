"""Blobs of an object store that this host keeps, those used last, for as long as there is room.

Threads and processes share it. A file is there whole or not at all, and never changes. It goes
where room is needed, but not while somebody may be about to open it, nor while it has another name
somewhere (a hard link): then it is in use, and to remove it would free nothing.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.storage.errors import BlobDamagedError, told
from app.storage.keys import checked_key, is_key

SPARE_SECONDS = 600.0
"""How long after it was asked for a file stays: whoever asked may not have opened it yet."""
DRAFT_SECONDS = 3600.0
"""A file that a lost process left half-written is removed after so long."""
UNUSED_SECONDS = 7 * 86400.0
"""What nobody asked for in so long goes too: it may have been deleted elsewhere."""
_POLL_SECONDS = 0.05
_DRAFT = ".draft-"
_USED = ".used"


@dataclass(frozen=True)
class Download:
    """A blob that is being read from its store.

    Attributes:
        size: bytes that will come.
        chunks: they, piece by piece.
    """

    size: int
    chunks: Iterator[bytes]


class BlobCache:
    """A folder of blobs by key, and beside each an empty file whose time says when it was used.

    Args:
        folder: where they lie; made when the first one comes.
        most: bytes of all together.
        keep_free: bytes that stay free on the disk.
        patience: seconds that a process waits for another one that fetches the same blob.
        spare: see `SPARE_SECONDS`.
    """

    def __init__(
        self,
        folder: Path,
        most: int,
        keep_free: int,
        patience: float,
        spare: float = SPARE_SECONDS,
    ) -> None:
        self._folder = folder
        self._most = most
        self._keep_free = keep_free
        self._patience = patience
        self._spare = spare

    def find(self, key: str) -> Path | None:
        """Return a blob's file, if it is here, and note that it is used.

        Raises:
            BlobStoreDownError: the folder cannot be read.
        """
        path = self._folder / checked_key(key)
        with told():
            if not path.exists():
                return None
            with self._locked(fcntl.LOCK_SH):  # so that it is not just being removed
                with suppress(FileNotFoundError):
                    os.utime(_used(path))
                return path if path.exists() else None

    def fill(self, key: str, fetch: Callable[[], Download]) -> Path:
        """Return a blob's file, fetched if it is not here. Every byte of it is checked.

        Raises:
            BlobDamagedError: what came are not its bytes.
            BlobStoreDownError: the folder cannot be written.
            Exception: whatever `fetch`, or reading what it gave, raises.
        """
        with told():
            (self._folder / "turns").mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._turn(checked_key(key)):
            found = self.find(key)
            return found or self._fetched(key, fetch())

    def link(self, key: str, target: Path) -> bool:
        """Give a blob's file another name, under which it stays; say whether it was here."""
        path = self._folder / key
        with told(), self._locked(fcntl.LOCK_SH):
            if not path.exists():
                return False
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:  # another file system, or one without links
                shutil.copyfile(path, target)
            return True

    def drop(self, key: str) -> None:
        """Remove a blob's file, if it is here."""
        path = self._folder / checked_key(key)
        with told():
            path.unlink(missing_ok=True)
            _used(path).unlink(missing_ok=True)

    def drop_unused(self, key: str) -> bool:
        """Do the same, unless it was asked for lately; say whether it is gone."""
        path = self._folder / checked_key(key)
        with told():
            if not path.exists():
                return True
            with self._locked(fcntl.LOCK_EX):
                with suppress(FileNotFoundError):
                    if _last_use(path) > time.time() - self._spare:
                        return False
                self.drop(key)
        return True

    def all_keys(self) -> list[str]:
        """Return the key of every blob that is here."""
        with told():
            found = list(self._folder.iterdir()) if self._folder.is_dir() else []
        return [path.name for path in found if is_key(path.name)]

    def _fetched(self, key: str, download: Download) -> Path:
        with told():
            self._make_room(download.size)
            handle, name = tempfile.mkstemp(prefix=_DRAFT, dir=self._folder)
        draft, path = Path(name), self._folder / key
        try:
            with os.fdopen(handle, "wb") as out:
                found = _written(out, download.chunks)
            if found != key:
                raise BlobDamagedError(key)
            with told():  # not synced: after a crash, whoever opens it first reads it whole
                _used(path).touch()
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return path

    def _make_room(self, size: int) -> None:
        """Remove what was used longest ago until `size` more bytes may come."""
        with self._locked(fcntl.LOCK_EX):
            kept = sorted(self._kept(), key=lambda one: one[0])
            room = self._most - sum(state.st_size for _, _, state in kept)
            free = shutil.disk_usage(self._folder).free - self._keep_free
            now = time.time()
            for used, path, state in kept:
                if size <= min(room, free) and used > now - UNUSED_SECONDS:
                    break
                if used < now - self._spare and state.st_nlink == 1:
                    path.unlink(missing_ok=True)
                    _used(path).unlink(missing_ok=True)
                    room, free = room + state.st_size, free + state.st_size

    def _kept(self) -> Iterator[tuple[float, Path, os.stat_result]]:
        """Yield every blob with when it was used last; removes what lost processes left."""
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                state = path.stat()
                if is_key(path.name):
                    yield _last_use(path), path, state
                elif path.name.startswith(_DRAFT) and time.time() - state.st_mtime > DRAFT_SECONDS:
                    path.unlink()

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Hold the folder's lock, for as long as a few files are looked at."""
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """Wait until nobody else fetches a blob, or for too long: then both do, to the same end."""
        with told():
            name = self._folder / "turns" / key[:3]  # of other blobs' one in 4,096
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + self._patience
            while not _taken(handle) and time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(handle)


def _written(out: BinaryIO, pieces: Iterator[bytes]) -> str:
    """Write what comes, and return its SHA-256; one piece is worked on while the next comes."""
    digest = hashlib.sha256()

    def write(piece: bytes) -> None:
        with told():
            out.write(piece)

    with ThreadPoolExecutor(2) as workers:  # no thread of it is made before it has work
        last: list[Future[None]] = []
        for piece in pieces:
            _wait_for(last)
            last = [workers.submit(work, piece) for work in (digest.update, write)]
        _wait_for(last)
    with told():
        out.flush()
    return digest.hexdigest()


def _wait_for(works: Iterable[Future[None]]) -> None:
    for one in works:
        one.result()


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_use(path: Path) -> float:
    used = _used(path)
    return (used if used.exists() else path).stat().st_mtime


def _used(path: Path) -> Path:
    return path.with_name(path.name + _USED)
