"""Parts become a blob: read one after another, counted and checksummed, stored. Web-free."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import is_passing, write_session
from app.db.base import JsonObject
from app.errors import BusyProblem, DiskFullProblem, ErrorDetail, Problem, UnavailableProblem
from app.errors.codes import Code
from app.settings import Settings
from app.storage import Blob, BlobMissingError, BlobStore, BlobStoreDownError, StagedBlob
from app.storage.base import CHUNK_BYTES
from app.storage.references import lock_blobs
from app.storage.sending import enter_with
from app.tasks.disk import check_room
from app.uploads import claims
from app.uploads.claims import Claim
from app.uploads.problems import UploadDamagedProblem, UploadUnfinishedProblem
from app.uploads.staging import staged

MOST_AT_ONCE = 2
"""Uploads that one process puts together at a time."""
RETRY_AFTER = 5
FIELD = "upload"
CLOSING_SECONDS = 5.0
"""How long a process that ends waits for them to notice; where it ends first, leases run out."""

log = structlog.get_logger(__name__)


class _AbandonedError(Exception):
    """The process ends, or the upload is not ours to put together any more."""


class Checks:
    """Lets few uploads be put together, on threads of their own, as that takes minutes.

    Args:
        most: how many at a time.
    """

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._turns = threading.Semaphore(most)
        self._stopping = threading.Event()
        self._running: set[threading.Thread] = set()

    def start(self, take: Callable[[], "Check | None"]) -> None:
        """Begin a check, if there is one to be taken.

        Args:
            take: claims it, once there is a turn; None: another process has.

        Raises:
            BusyProblem: as many run as may.
        """
        if not self._turns.acquire(blocking=False):
            raise BusyProblem("as many uploads are being put together as may be", RETRY_AFTER)
        try:
            check = take()
            if check is None:
                self._turns.release()
                return
            self._begin(check)
        except BaseException:
            self._turns.release()
            raise

    def close(self) -> None:
        """Have all given up that run; another process, or the next, takes them up again."""
        self._stopping.set()
        for thread in list(self._running):
            thread.join(CLOSING_SECONDS)

    def _begin(self, check: "Check") -> None:
        thread = threading.Thread(target=self._run, args=(check,), name="upload", daemon=True)
        self._running.add(thread)
        try:
            thread.start()
        except BaseException:  # the machine has no thread left
            self._running.discard(thread)
            raise

    def _run(self, check: "Check") -> None:
        try:
            check.run(self._stopping)
        finally:
            self._running.discard(threading.current_thread())
            self._turns.release()


@dataclass(frozen=True)
class Check:
    """An upload whose parts are put together.

    Attributes:
        engine: the database.
        blobs: where the parts are, and the blob will be.
        settings: of the process.
        claim: the right to do it.
        beat_seconds: how often it is renewed.
    """

    engine: Engine
    blobs: BlobStore
    settings: Settings
    claim: Claim
    beat_seconds: float = field(default=claims.LEASE_SECONDS / 3)

    def run(self, stopping: threading.Event) -> None:
        """Do it, and write down what came of it; raises nothing."""
        try:
            self._settle(stopping)
        except SQLAlchemyError as error:  # the claim runs out by itself
            log.warning("upload_unsettled", upload=self.claim.upload, error=str(error))

    def _settle(self, stopping: threading.Event) -> None:
        try:
            with self._kept() as lost:
                blob = self._stored(lambda: stopping.is_set() or lost.is_set())
        except _AbandonedError:
            self._write(claims.release, None)
        except UploadDamagedProblem as problem:
            log.warning("upload_damaged", upload=self.claim.upload)
            if self._write(claims.fail, problem.body()):
                self._drop_parts()
        except (DiskFullProblem, UploadUnfinishedProblem) as problem:
            self._write(claims.release, problem.body())
        except Exception as error:  # there is no request that could say it
            if _passes(error):
                log.warning("upload_not_put_together", upload=self.claim.upload, error=str(error))
                said = "the database or the blob store did not answer"
                self._write(claims.release, UnavailableProblem(said, RETRY_AFTER).body())
            else:
                log.exception("upload_failed", upload=self.claim.upload)
                self._write(claims.release, Problem("the log of the service says more").body())
        else:
            log.info("upload_done", upload=self.claim.upload, blob=blob.key, bytes=blob.size)
            self._drop_parts()

    def _stored(self, over: Callable[[], bool]) -> Blob:
        """Store the blob, and note it in the same transaction.

        Raises:
            UploadDamagedProblem: its bytes are not those that were announced.
            UploadUnfinishedProblem: a part is not there any more, or has another size now.
            DiskFullProblem: there is no room for it.
            BlobStoreDownError, SQLAlchemyError: a part of the service does not answer.
        """
        claim, size = self.claim, self.claim.parts.bytes
        check_room(self.settings, coming=size)
        with staged(self.blobs, FIELD, joined(self._chunks(over)), size) as stored:
            if claim.sha256 is not None and stored.blob.key != claim.sha256:
                raise UploadDamagedProblem(
                    f"its parts together have the SHA-256 {stored.blob.key}, and not "
                    f"{claim.sha256}: send all of it again",
                    [ErrorDetail("other bytes than announced", field="sha256", code=Code.INVALID)],
                )
            stored.send()
            enter_with([stored], lambda: self._enter(stored))
        return stored.blob

    def _enter(self, stored: StagedBlob) -> None:
        with write_session(self.engine) as session:
            lock_blobs(session, [stored.blob.key])
            stored.confirm()
            if not claims.finish(session, self.claim, stored.blob.key):
                raise _AbandonedError
            stored.publish()

    def _chunks(self, over: Callable[[], bool]) -> Iterator[bytes]:
        parts = self.claim.parts
        for number in range(1, parts.count + 1):
            left = parts.size(number)
            try:
                for chunk in self.blobs.parts.read(self.claim.upload, number):
                    if over():
                        raise _AbandonedError
                    left -= len(chunk)
                    if left < 0:
                        break
                    yield chunk
            except BlobMissingError as error:
                raise _changed(number) from error
            if left:
                raise _changed(number)

    @contextmanager
    def _kept(self) -> Iterator[threading.Event]:
        """Renew the claim while the block runs; gives what is set when it is ours no more."""
        lost, ended = threading.Event(), threading.Event()

        def beat() -> None:
            while not ended.wait(self.beat_seconds):
                try:
                    if not self._write(claims.renew):
                        lost.set()
                        return
                except SQLAlchemyError as error:
                    log.warning("upload_not_renewed", upload=self.claim.upload, error=str(error))

        beating = threading.Thread(target=beat, name="upload-beat", daemon=True)
        beating.start()
        try:
            yield lost
        finally:
            ended.set()
            beating.join()

    def _write(self, change: Callable[..., bool], *given: JsonObject | None) -> bool:
        with write_session(self.engine) as session:
            return change(session, self.claim, *given)

    def _drop_parts(self) -> None:
        try:
            self.blobs.parts.remove(self.claim.upload)
        except BlobStoreDownError as error:  # they are the collector's
            log.warning("parts_left", upload=self.claim.upload, error=str(error))


def joined(pieces: Iterator[bytes]) -> BinaryIO:
    """Return pieces as one file, of which little is in memory."""
    return cast(BinaryIO, io.BufferedReader(_Pieces(pieces), CHUNK_BYTES))


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: "memoryview[int]", /) -> int:  # type: ignore[override]
        """Fill a buffer as far as the piece goes that comes next; 0 is the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _passes(error: Exception) -> bool:
    return isinstance(error, BlobStoreDownError | BlobMissingError) or is_passing(error)


def _changed(number: int) -> UploadUnfinishedProblem:
    fault = ErrorDetail("it was removed or replaced", field=f"parts.{number}", code=Code.MISSING)
    return UploadUnfinishedProblem(f"part {number} was changed meanwhile", [fault])
