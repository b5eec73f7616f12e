"""The pictures of folders, and where what comes of each is written."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.segmentation.signatures import LONGEST, starts_as_picture


class OutputError(ValueError):
    """What is written would lie among what is read."""


@dataclass(frozen=True)
class Job:
    """A file that may be a picture.

    Attributes:
        source: the file.
        target: what is written of it; no other job of a run has the same. None: nothing is.
        named: whether somebody named it, rather than a folder that it lies in.
    """

    source: Path
    target: Path | None
    named: bool


@dataclass(frozen=True)
class Unread:
    """What cannot be a job, and why."""

    source: Path
    why: str


def check_output(sources: Sequence[Path], output: Path) -> None:
    """Check that no folder that is read is the one that is written to, or lies in it.

    Raises:
        OutputError: one is; its pictures and what came of them could not be told apart.
    """
    written = output.resolve()
    for source in sources:
        if source.is_dir() and source.resolve().is_relative_to(written):
            raise OutputError(f"{source} lies in {output}: name another folder for the output")


def find(
    sources: Sequence[Path], output: Path | None, suffix: str, *, recursive: bool
) -> Iterator[Job | Unread]:
    """Yield a job for every file, by name; what is no picture is among them.

    A target has its file's whole name and a suffix, so that a.jpg and a.png do not meet; files of
    a folder keep their place in it. Links to files are followed, links to folders are not, and
    neither is the output's own folder.

    Args:
        sources: folders and files, each of which is there.
        output: the folder that is written to; None: nothing is written.
        suffix: of what is written.
        recursive: whether folders inside folders are read.
    """
    taken = {source.resolve() for source in sources if source.is_file()}
    written = None if output is None else output.resolve()
    for source in sources:
        for file in _files(source, written, recursive):
            if isinstance(file, Unread):
                yield file
                continue
            if written is None:
                yield Job(file, None, named=not source.is_dir())
                continue
            place = file.relative_to(source if source.is_dir() else source.parent)
            target = written / place.parent / (place.name + suffix)
            if target in taken:
                yield Unread(file, f"{target.name} is written for another one, or is one itself")
            else:
                taken.add(target)
                yield Job(file, target, named=not source.is_dir())


def is_picture(path: Path) -> bool:
    """Return whether a file begins as a picture does, whatever it is called.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file():  # a pipe would keep its reader waiting for ever
        return False
    with path.open("rb") as file:
        return starts_as_picture(file.read(LONGEST))


def _files(source: Path, written: Path | None, recursive: bool) -> Iterator[Path | Unread]:
    if not source.is_dir():
        yield source
        return
    try:
        with os.scandir(source) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Unread(source, error.strerror or str(error))
        return
    for entry in entries:
        path = source / entry.name
        if entry.is_dir(follow_symlinks=False):
            if recursive and path.resolve() != written:
                yield from _files(path, written, recursive)
        elif entry.is_file():  # no pipe, no device: those never end
            yield path
