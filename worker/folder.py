"""The folder that a task's step works in: checkpoints, the old version, the half-made result."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from sats_core.files import write_whole
from sats_core.job import CHECKPOINT, Job, parse_job, parse_result

CACHE_SUFFIX = ".raw"
"""Of the files in which a step keeps decoded pictures."""

_POLL_SECONDS = 0.1
_MOST_NAME_BYTES = 300


class FolderInUseError(Exception):
    """Another process works in the folder and does not end.

    Attributes:
        holder: who it is.
        waited: seconds waited for it.
    """

    def __init__(self, holder: str, waited: float) -> None:
        super().__init__(f"in use by {holder}")
        self.holder = holder
        self.waited = waited


class WorkFolder:
    """`work_dir/<task id>/`. It outlives a lost worker, so that the next one can resume.

    Attributes:
        checkpoints: the step's own; kept from try to try.
        checkpoint: the file among them that a step goes on from.
        shared: says which blob that file was, when it was the same as in the store last.
        uploads: what was posted, where the store itself is elsewhere.
        old_version: the version to start from, materialised.
        unaware: a version that never knew what a retirement takes away, materialised.
        result: what the step gives back.
        version: the new version's files, inside `result`.
        held_out: the held-out pictures to keep, if any, inside `result`.
        memory: the training pictures to keep for replay, if any, inside `result`.
        old_held_out: the held-out pictures of the versions before.
        old_memory: those that the version to start from keeps.
        result_file: written last.
        job: the job file that the child reads; the result is of this one.
    """

    def __init__(self, work_dir: Path, task_id: str) -> None:
        self.path = work_dir.resolve() / task_id
        self.checkpoints = self.path / "checkpoints"
        self.checkpoint = self.checkpoints / CHECKPOINT
        self.shared = self.checkpoints / "shared"
        self.uploads = self.path / "uploads"
        self.old_version = self.path / "old"
        self.unaware = self.path / "unaware"
        self.result = self.path / "result"
        self.version = self.result / "version"
        self.held_out = self.result / "held_out.zip"
        self.memory = self.result / "memory.zip"
        self.old_held_out = self.path / "old-held-out"
        self.old_memory = self.path / "old-memory.zip"
        self.result_file = self.result / "result.json"
        self.job = self.path / "job.json"

    def is_done_for(self, job: Job) -> bool:
        """Whether the very job ended here and its result is whole.

        Between two tries of a task its model may have moved on: another version to start from,
        other indices for its classes. What was made before that is of no use.
        """
        try:
            if parse_job(self.job.read_bytes()) != job:
                return False
            parse_result(self.result_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return False
        return True

    def begin(self, job: Job) -> None:
        """Make the folder ready for a try: checkpoints stay, a half-written result goes."""
        shutil.rmtree(self.result, ignore_errors=True)
        for folder in (self.checkpoints, self.result):
            folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.job, job.model_dump_json().encode())

    def shrink(self) -> None:
        """Remove what the next try makes anew; the folder stays, if there is one.

        Nothing is touched while somebody works in it, or where nothing of it is left.
        """
        made_anew = (self.uploads, self.old_version, self.old_memory, *self._caches())
        if not any(path.exists() for path in made_anew):
            return
        with suppress(FolderInUseError), self.locked("tidying", wait_seconds=0):
            for old in (self.uploads, self.old_version, self.unaware, self.old_held_out):
                shutil.rmtree(old, ignore_errors=True)
            for file in (self.old_memory, *self._caches()):
                file.unlink(missing_ok=True)

    def _caches(self) -> Iterator[Path]:
        return self.checkpoints.glob(f"*{CACHE_SUFFIX}")

    def remove(self) -> None:
        """Remove everything; a folder that is not there is no error."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def locked(
        self, holder: str, wait_seconds: float, give_up: Callable[[], bool] = lambda: False
    ) -> Iterator[int | None]:
        """Hold the folder alone; gives the lock's file descriptor, or None after `give_up()`.

        The fence guards the row, this guards the files: a worker that stood still beyond its
        lease may leave a child that still writes checkpoints. The child inherits the descriptor,
        so the lock is held until worker and child are both gone.

        Args:
            holder: who asks; whoever waits in vain is told.
            wait_seconds: longest wait for the one who holds it.
            give_up: asked again and again while waiting.

        Raises:
            FolderInUseError: it is still in use.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield handle if _lock(handle, holder, wait_seconds, give_up) else None
        finally:
            os.close(handle)


def _lock(handle: int, holder: str, wait_seconds: float, give_up: Callable[[], bool]) -> bool:
    until = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if give_up():
                return False
            if time.monotonic() >= until:
                said = os.pread(handle, _MOST_NAME_BYTES, 0).decode(errors="replace")
                raise FolderInUseError(said or "somebody", wait_seconds) from None
            time.sleep(_POLL_SECONDS)
        else:
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder.encode()[:_MOST_NAME_BYTES], 0)
            return True
