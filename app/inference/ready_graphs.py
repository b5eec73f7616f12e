"""Graphs as ONNX Runtime has made them ready for this processor, so that it does so once.

They hold weights. So an entry is named after the blob of its graph, and goes when that goes.
"""

import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog

from app.settings import Settings
from app.storage import BlobMissingError, BlobStore

MOST_BYTES = 2**30
"""Of all entries together; those that were used last stay."""
DRAFT_SECONDS = 3600.0
"""A file that a lost process left half-written is removed after so long."""
_ENTRY = re.compile(r"([0-9a-f]{64})-[0-9a-f]{16}-([0-9a-f]+)-([0-9a-f]{64})\.onnx")
"""Key of the graph's blob, what made it ready, the graph's form, the entry's own checksum."""
_DRAFT = ".draft-"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ready:
    """A graph that needs no more work.

    Attributes:
        data: ONNX, with operators of this processor's own.
        form: of the graph that it was made of.
    """

    data: bytes
    form: str


class ReadyGraphs:
    """A folder of such graphs, the service's own. Threads and processes may share it.

    Nothing depends on it: what cannot be read or written is told in the log, and made anew.

    Args:
        folder: where they lie.
        known: whether a graph's blob is still there, by its key.
        keep_free: bytes that stay free on its disk.
    """

    def __init__(self, folder: Path, known: Callable[[str], bool], keep_free: int = 0) -> None:
        self._folder = folder
        self._known = known
        self._keep_free = keep_free

    @classmethod
    def of(cls, settings: Settings, blobs: BlobStore) -> "ReadyGraphs":
        """Return those of a process's settings."""

        def known(key: str) -> bool:
            with suppress(BlobMissingError):
                blobs.size(key)
                return True
            return False

        return cls(settings.ready_graphs_dir, known, settings.keep_free_bytes)

    def find(self, graph: str, runtime: str) -> Ready | None:
        """Return a graph by its blob's key, as this runtime has made it ready here."""
        for path in self._folder.glob(f"{graph}-{_maker(runtime)}-*.onnx"):
            try:
                data = _whole(path)
                os.utime(path)
            except (OSError, ValueError) as error:
                log.warning("ready_graph_not_used", file=path.name, error=str(error))
                self._remove(path)
            else:
                return Ready(data, path.name.split("-")[2])
        return None

    def draft(self, room: int) -> Path | None:
        """Return an empty file to write a graph of about `room` bytes to; None: there is none."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if shutil.disk_usage(self._folder).free - room < self._keep_free:
                return None
            handle, name = tempfile.mkstemp(prefix=_DRAFT, dir=self._folder)
        except OSError as error:
            log.warning("ready_graph_not_kept", error=str(error))
            return None
        os.close(handle)
        return Path(name)

    def keep(self, draft: Path, graph: str, runtime: str, form: str) -> None:
        """Take a draft that was written."""
        try:
            with draft.open("rb") as stream:
                own = hashlib.file_digest(stream, "sha256").hexdigest()
            draft.replace(self._folder / f"{graph}-{_maker(runtime)}-{form}-{own}.onnx")
        except OSError as error:
            log.warning("ready_graph_not_kept", error=str(error))
            self._remove(draft)
            return
        # What processes made side by side need not be the same to the last byte: one stays.
        for other in sorted(self._folder.glob(f"{graph}-{_maker(runtime)}-*.onnx"))[1:]:
            self._remove(other)
        try:
            self._tidy()
        except OSError as error:  # the blob store is down, for one
            log.warning("ready_graphs_not_tidied", error=str(error))

    def graphs(self) -> set[str]:
        """Return the key of every blob that something was made of."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except OSError:  # nothing was made ready yet, or nothing can be read
            return set()
        return {match[1] for name in names if (match := _ENTRY.fullmatch(name)) is not None}

    def forget(self, graph: str) -> None:
        """Remove what was made of a graph."""
        for path in self._folder.glob(f"{graph}-*.onnx"):
            self._remove(path)

    def _tidy(self) -> None:
        """Remove what has no blob any more, what has no room, and what was never finished."""
        left = MOST_BYTES
        for path, state in sorted(self._files(), key=lambda one: one[1].st_mtime, reverse=True):
            if path.name.startswith(_DRAFT):
                if time.time() - state.st_mtime > DRAFT_SECONDS:
                    self._remove(path)
            elif (match := _ENTRY.fullmatch(path.name)) is not None:
                left -= state.st_size
                if left < 0 or not self._known(match[1]):
                    self._remove(path)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another process was faster
                yield path, path.lstat()

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("ready_graph_not_removed", file=path.name, error=str(error))


def _whole(path: Path) -> bytes:
    """Return an entry's bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or a file that another user put there or may change.
    """
    match = _ENTRY.fullmatch(path.name)
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as stream:
        state = os.fstat(stream.fileno())
        ours = state.st_uid == os.geteuid() and not state.st_mode & _OTHERS_WRITE
        if not (ours and stat.S_ISREG(state.st_mode)):
            raise ValueError("it is not a file of this service's own")
        data = stream.read()
    if match is None or hashlib.sha256(data).hexdigest() != match[3]:
        raise ValueError("it is damaged")
    return data


@cache
def _maker(runtime: str) -> str:
    """Return a digest of what makes a graph ready: the runtime, and what the processor can do."""
    about = [runtime, platform.machine()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]
