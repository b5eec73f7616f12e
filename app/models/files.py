"""A version's files, laid out as a directory."""

import hashlib
import os
import shutil
from pathlib import Path

from app.db import Version
from app.errors import ConflictProblem, Problem
from app.storage import BlobMissingError, BlobStore
from app.storage.base import chunks


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
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, entry in version.files.items():
            _copy(blobs, version, name, str(entry["blob"]), partial / name)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy(blobs: BlobStore, version: Version, name: str, key: str, target: Path) -> None:
    what = f"file {name!r} of version {version.number}"
    digest = hashlib.sha256()
    try:
        source = blobs.path(key)
    except BlobMissingError as error:
        raise DamagedVersionProblem(f"{what} is missing in the blob store") from error
    with source.open("rb") as stream, target.open("wb") as out:
        for chunk in chunks(stream):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != key:
        raise DamagedVersionProblem(f"{what} is damaged in the blob store")
