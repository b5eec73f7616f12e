"""Folders as zips."""

import os
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path

Files = Iterator[tuple[str, Path]]

CHECKPOINT = (
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
"""What an import reads of a Hugging Face directory."""
PICKLES = ("*.bin", "*.bin.index.json")
"""What it reads besides where somebody says that it may; a service elsewhere reads none."""
_LITTER = (".*", "Thumbs.db", "desktop.ini", "__MACOSX")
_CHUNK = 1 << 20
_PREFIX = "sats-client-"
_LEFT_SECONDS = 24 * 3600
"""A zip that is older is no longer sent: the process that made it was killed."""


class NothingToSendError(ValueError):
    """A folder has no file that would be sent."""


def packed(
    source: Path, scratch: ExitStack, files: Callable[[Path], Files], within: Path | None = None
) -> Path:
    """Return a file as it is, or a folder as an uncompressed zip that is gone with `scratch`.

    Two zips of one folder are the same to the byte.

    Args:
        source: a zip, or a folder.
        scratch: removes the zip.
        files: gives what of the folder is sent.
        within: the folder that the zip lies in; default: the system's for temporary files.

    Raises:
        FileNotFoundError: there is no such file or folder.
        NothingToSendError: the folder has no such file.
    """
    if not source.is_dir():
        source.stat()
        return source
    _sweep(Path(tempfile.gettempdir()) if within is None else within)
    folder = scratch.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, dir=within))
    target = Path(folder, f"{source.resolve().name or 'folder'}.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, file in files(source):
            entry = zipfile.ZipInfo(name)  # it has a time of its own, the same each time
            entry.file_size = file.stat().st_size
            with file.open("rb") as data, archive.open(entry, "w") as written:
                shutil.copyfileobj(data, written, _CHUNK)
        if not archive.namelist():
            raise NothingToSendError(f"{source} has no file that would be sent")
    return target


def everything(folder: Path) -> Files:
    """Yield the files below a folder, by name, each with its path inside, `/` between levels.

    Links are followed, but not in circles; hidden files and what systems leave behind stay
    here.
    """
    yield from _below(folder, "", frozenset({folder.resolve()}))


def checkpoint(folder: Path, *, pickles: bool = False) -> Files:
    """Yield what an import reads of a Hugging Face directory."""
    read = (*CHECKPOINT, *(PICKLES if pickles else ()))
    for path in sorted(folder.iterdir()):
        if path.is_file() and any(fnmatch(path.name, one) for one in read):
            yield path.name, path


def _sweep(folder: Path) -> None:
    """Remove this user's zips that killed processes left in a folder."""
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            found = path.lstat()
        except OSError:  # gone meanwhile
            continue
        ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
        if ours and stat.S_ISDIR(found.st_mode) and time.time() - found.st_mtime > _LEFT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _below(folder: Path, prefix: str, above: frozenset[Path]) -> Files:
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, one) for one in _LITTER):
            continue
        if path.is_dir():
            inner = path.resolve()
            if inner not in above:
                yield from _below(path, f"{prefix}{path.name}/", above | {inner})
        elif path.is_file():  # no pipe: it would keep its reader waiting
            yield prefix + path.name, path
