"""A version's files, laid out as a directory."""

import os
import shutil
import tempfile
from pathlib import Path

from app.db import Version
from app.db.base import JsonObject
from app.errors import ConflictProblem, ErrorDetail, NotFoundProblem, Problem
from app.errors.codes import Code
from app.storage import BlobDamagedError, BlobMissingError, BlobStore


class DamagedVersionProblem(Problem):
    """What belongs to a version is missing, or not what was stored.

    A step that would start from it fails: from scratch, the model would forget all in silence.
    """

    slug = "damaged-version"
    title = "The version is damaged"


class DirectoryInUseProblem(ConflictProblem):
    """A version is written to an empty directory, or to none that is there."""

    slug = "directory-in-use"
    title = "The directory is not empty"


def lay_out(blobs: BlobStore, version: Version, directory: Path) -> None:
    """Write a version's files to `directory`, whole or not at all.

    Args:
        blobs: that hold the files.
        version: whose files.
        directory: must not exist, or be empty; made under a temporary name, then renamed.

    Raises:
        DirectoryInUseProblem: there is something in the directory, or it is a file.
        DamagedVersionProblem: a file's bytes are missing or not those that were stored.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise DirectoryInUseProblem(f"{directory} is there already and is not an empty directory")
    target = directory.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        partial = Path(scratch) / target.name
        partial.mkdir()
        for name in version.files:
            _copy(version_file(blobs, version, name), partial / name)
        partial.replace(target)


def version_file(blobs: BlobStore, version: Version, name: str) -> Path:
    """Return the local file that one of a version's files lies in, checked as `verified` does.

    Raises:
        NotFoundProblem: the version has no such file.
        DamagedVersionProblem: names the file, whose bytes are missing or not those stored.
    """
    key = str(version_entry(version, name)["blob"])
    return verified(blobs, key, f"file {name!r} of version {version.number}", file=name)


def version_entry(version: Version, name: str) -> JsonObject:
    """Return what is known of one of a version's files: `blob`, its SHA-256, and `bytes`.

    Raises:
        NotFoundProblem: the version has no such file.
    """
    if name not in version.files:
        has = ", ".join(version.files)
        raise NotFoundProblem(f"version {version.number} has no file {name!r}, only {has}")
    entry: JsonObject = version.files[name]
    return entry


def verified(blobs: BlobStore, key: str, what: str, file: str | None = None) -> Path:
    """Return the local file of a blob, checked against its key; it must not be changed.

    Args:
        blobs: that hold it.
        key: its key.
        what: what the blob is to whoever reads the error.
        file: its name, where it has one, for the problem's `errors`.

    Raises:
        DamagedVersionProblem: its bytes are missing or not those that were stored.
    """
    try:
        return blobs.verified(key).resolve()
    except BlobMissingError as error:
        message = f"{what} is missing in the blob store"
        raise DamagedVersionProblem(message, _faults(message, file, Code.MISSING)) from error
    except BlobDamagedError as error:
        message = f"{what} is damaged in the blob store"
        raise DamagedVersionProblem(message, _faults(message, file, Code.INVALID)) from error


def _faults(message: str, file: str | None, code: Code) -> list[ErrorDetail]:
    return [ErrorDetail(message, file=file, code=code)] if file else []


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as stream, target.open("wb") as out:
        shutil.copyfileobj(stream, out)
        out.flush()
        os.fsync(out.fileno())
