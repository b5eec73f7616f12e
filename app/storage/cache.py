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
from collections.abc import Callable, Iterator
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
LOOK_SECONDS = 60.0
"""How long a look through the folder is good for, as long as little came since."""
SHARERS = 16
"""By how many processes the room that one of them sees may be taken up before they look again."""
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
        self._unseen = 0  # bytes that may come before the folder is looked through again
        self._look_again = 0.0

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
        """Remove what was used longest ago until `size` more bytes may come.

        Where there was much room a moment ago nothing is looked at.
        """
        if size <= min(self._unseen, self._free()) and time.monotonic() < self._look_again:
            self._unseen -= size
            return
        with self._locked(fcntl.LOCK_EX):
            kept = sorted(self._kept(), key=lambda one: one[0])
            room = self._most - sum(state.st_size for _, _, state in kept)
            free = self._free()  # now: others may have made room while the lock was waited for
            now = time.time()
            for used, path, state in kept:
                if size <= min(room, free) and used > now - UNUSED_SECONDS:
                    break
                if used < now - self._spare and state.st_nlink == 1:
                    path.unlink(missing_ok=True)
                    _used(path).unlink(missing_ok=True)
                    room, free = room + state.st_size, free + state.st_size
        self._unseen = (room - size) // SHARERS
        self._look_again = time.monotonic() + LOOK_SECONDS

    def _free(self) -> int:
        return shutil.disk_usage(self._folder).free - self._keep_free

    def _kept(self) -> Iterator[tuple[float, Path, os.stat_result]]:
        """Yield every blob with when it was used last; removes what lost processes left."""
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if is_key(path.name):
                    yield _last_use(path), path, path.stat()
                elif path.name.startswith(_DRAFT) and _is_lost(path):
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
    """Write what comes, and return its SHA-256.

    In no threads of its own: the kernel takes the next bytes meanwhile, and to hand pieces over
    takes longer than to hash them.
    """
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        with told():
            out.write(piece)
    with told():
        out.flush()
    return digest.hexdigest()


def _is_lost(draft: Path) -> bool:
    return time.time() - draft.stat().st_mtime > DRAFT_SECONDS


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_use(path: Path) -> float:
    try:
        return _used(path).stat().st_mtime
    except FileNotFoundError:
        return path.stat().st_mtime


def _used(path: Path) -> Path:
    return path.with_name(path.name + _USED)
