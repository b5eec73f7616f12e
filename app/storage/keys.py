"""What a blob's key looks like, and what tells a file from a changed one."""

import os
import re

from app.storage.errors import BlobMissingError

_KEY = re.compile(r"[0-9a-f]{64}")


def is_key(name: str) -> bool:
    """Return whether a name could be a blob's."""
    return _KEY.fullmatch(name) is not None


def checked_key(key: str) -> str:
    """Return a key, which may come from outside and becomes part of a path.

    Raises:
        BlobMissingError: it is none, so that no blob has it.
    """
    if not is_key(key):
        raise BlobMissingError(key)
    return key


def stamp_of(state: os.stat_result) -> tuple[int, ...]:
    """Return what tells a file from a changed one without reading it."""
    return (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
