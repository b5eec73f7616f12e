"""Files that are written whole or not at all, and are still there after the power went."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` in the place of whatever `path` holds; see `whole`."""
    with whole(path) as partial:
        partial.write_bytes(data)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; at the end that file takes the place of `path`.

    After an error, `path` is as it was. For one writer at a time: the name is always the same, so
    that what a crash left of it is overwritten.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
