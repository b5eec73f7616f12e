"""A version's files, laid out as a directory."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from app.db import Version
from app.errors import ConflictProblem, Problem
from app.storage import BlobMissingError, BlobStore


class DamagedVersionProblem(Problem):
    """What belongs to a version is missing, or not what was stored.

    A step that would start from it fails: from scratch, the model would forget all in silence.
    """

    slug = "damaged-version"
    title = "The version is damaged"


def lay_out(blobs: BlobStore, version: Version, directory: Path) -> None:
    """Write a version's files to `directory`, whole or not at all.

    Args:
        blobs: that hold the files.
        version: whose files.
        directory: must not exist, or be empty; made under a temporary name, then renamed.

    Raises:
        ConflictProblem: there is something in the directory, or it is a file.
        DamagedVersionProblem: a file's bytes are missing or not those that were stored.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise ConflictProblem(f"{directory} is there already and is not an empty directory")
    target = directory.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        partial = Path(scratch) / target.name
        partial.mkdir()
        for name, entry in version.files.items():
            what = f"file {name!r} of version {version.number}"
            _copy(verified(blobs, str(entry["blob"]), what), partial / name)
        partial.replace(target)


def verified(blobs: BlobStore, key: str, what: str) -> Path:
    """Return the local file of a blob, every byte checked; it must not be changed.

    Args:
        blobs: that hold it.
        key: its key.
        what: what the blob is to whoever reads the error.

    Raises:
        DamagedVersionProblem: its bytes are missing or not those that were stored.
    """
    try:
        path = blobs.path(key).resolve()
    except BlobMissingError as error:
        raise DamagedVersionProblem(f"{what} is missing in the blob store") from error
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != key:
            raise DamagedVersionProblem(f"{what} is damaged in the blob store")
    return path


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as stream, target.open("wb") as out:
        shutil.copyfileobj(stream, out)
        out.flush()
        os.fsync(out.fileno())
