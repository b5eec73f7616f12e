"""Temporary folders of which nothing stays, though their process is killed.

A process that ends removes its own; one that is killed cannot. So each folder is locked for as long
as its process lives, and whoever makes the next one removes those that nobody holds any more.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "sats-scratch-"
GRACE_SECONDS = 600.0
"""So long a folder may be there before it is locked."""


class Scratch:
    """A folder for this process and those that it forks; gives its path as a context manager.

    Args:
        kind: a word of its name, which says what for.
        within: the folder that it lies in; default: the system's for temporary files.

    Attributes:
        path: the folder.
    """

    def __init__(self, kind: str, within: Path | None = None) -> None:
        parent = Path(tempfile.gettempdir()) if within is None else within
        sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-", dir=parent))
        self._held = _opened(self.path)
        with suppress(OSError):  # where nothing can be locked, nobody removes what is not held
            fcntl.flock(self._held, fcntl.LOCK_SH)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def sweep(parent: Path | None = None) -> None:
    """Remove what killed processes of this user left of `Scratch`.

    Args:
        parent: where to look; default: the system's folder for temporary files.
    """
    try:
        with os.scandir(tempfile.gettempdir() if parent is None else parent) as entries:
            found = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    except OSError:  # it is for whoever writes there to say so
        return
    for path in found:
        if _is_left(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_left(path: str) -> bool:
    """Whether a folder is ours, was made a while ago and is held by nobody."""
    try:
        handle = _opened(Path(path))
    except OSError:  # gone, somebody else's, a link, no folder
        return False
    try:
        found = os.fstat(handle)
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or time.time() - found.st_mtime < GRACE_SECONDS:
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
