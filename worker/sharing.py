"""A running task's checkpoint in the blob store, for workers that share nothing else.

every so often ── stage, send ── row names it ── the one before goes
a worker that takes the task up ── the row names another than lies here ── fetch it
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import Task, read_session, write_session
from app.processes.repeating import Repeating
from app.storage import BlobDamagedError, BlobMissingError, BlobStore, TooLargeError
from app.storage.references import delete_checkpoint, lock_blobs
from sats_core.files import whole, write_whole
from worker.claim import Claim, LeaseLostError, note_checkpoint
from worker.folder import WorkFolder

log = structlog.get_logger(__name__)


def take_up(engine: Engine, blobs: BlobStore, task_id: str, folder: WorkFolder) -> None:
    """Lay the checkpoint that another host's worker left last into the work folder.

    What lies there stays if that one came from here, as the folder's own may be newer. One that is
    gone or damaged is warned of: the step starts from what there is.

    Raises:
        BlobStoreDownError: nobody can tell, the store cannot be read.
    """
    with read_session(engine) as session:
        key = session.get_one(Task, task_id).checkpoint
    if key is None or key == _last_shared(folder):
        return
    try:
        found = blobs.verified(key)
    except (BlobMissingError, BlobDamagedError) as error:
        log.warning("checkpoint_lost", task=task_id, blob=key, error=type(error).__name__)
        return
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    with whole(folder.checkpoint) as partial:
        shutil.copyfile(found, partial)
    write_whole(folder.shared, key.encode())
    log.info("checkpoint_taken_up", task=task_id, blob=key)


class SharedCheckpoint:
    """Puts checkpoints into the store from a thread; a context manager around the training.

    What an earlier try left in the folder is put there at once. Where the training does not come to
    its end, the last one is put there when the block ends.

    Args:
        engine: the database.
        blobs: where they go.
        claim: the task; once it is somebody else's, nothing is put there.
        folder: where the training writes them.
        every_seconds: between two looks for a new one.
        given_up: whether nobody will go on from what this worker has: the lease is lost, or the
            task was cancelled. Then nothing is put there either.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        claim: Claim,
        folder: WorkFolder,
        every_seconds: float,
        given_up: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._claim = claim
        self._folder = folder
        self._given_up = given_up
        self._seen: tuple[int, int] | None = None
        self._sharing = Repeating("checkpoints", self._try_to_share, every_seconds)

    def __enter__(self) -> Self:
        self._sharing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sharing.stop()
        if kind is not None and not issubclass(kind, LeaseLostError):
            self._try_to_share()

    def share(self) -> None:
        """Put the checkpoint into the store, if there is another than the last time.

        Raises:
            BlobStoreDownError: it could not be put there.
            TooLargeError: no blob may be as large.
            LeaseLostError: the task is somebody else's; the store is as it was.
        """
        stamp = _stamp(self._folder.checkpoint)
        if stamp is None or stamp == self._seen:
            return
        # The training puts new files in its place and never writes to this one.
        with self._blobs.stage_file(self._folder.checkpoint) as staged:
            staged.send()
            key = staged.blob.key
            with write_session(self._engine) as session:
                lock_blobs(session, [key])
                staged.confirm()  # before the row is locked, which heartbeats write to
                before = note_checkpoint(session, self._claim, key)
                staged.publish()
        self._seen = stamp
        write_whole(self._folder.shared, key.encode())
        if before is not None and before != key:
            self._drop(before)

    def _try_to_share(self) -> None:
        """Do without: the training does not depend on it."""
        if self._given_up():
            return
        try:
            self.share()
        except LeaseLostError:
            log.info("checkpoint_not_shared", task=self._claim.task_id, error="the lease is lost")
        except (OSError, SQLAlchemyError, TooLargeError) as error:
            log.warning("checkpoint_not_shared", task=self._claim.task_id, error=str(error))

    def _drop(self, key: str) -> None:
        """Delete the one before; where that fails it is the collector's."""
        try:
            with write_session(self._engine) as session:
                delete_checkpoint(session, self._blobs, key)
        except (OSError, SQLAlchemyError) as error:
            task = self._claim.task_id
            log.warning("checkpoint_not_dropped", task=task, blob=key, error=str(error))


def _last_shared(folder: WorkFolder) -> str | None:
    if not folder.checkpoint.exists():
        return None
    try:
        return folder.shared.read_text()
    except FileNotFoundError:
        return None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return (state.st_ino, state.st_mtime_ns)
