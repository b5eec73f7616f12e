"""A zip that lies in somebody's bucket, fetched as if it had been posted. Web-free."""

import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import BinaryIO

import structlog
from anyio import CapacityLimiter, to_thread

from app.errors import (
    BusyProblem,
    ErrorDetail,
    InvalidProblem,
    TooLargeProblem,
    UnavailableProblem,
)
from app.errors.codes import Code
from app.settings import Settings
from app.storage import BlobMissingError, BlobRefusedError, BlobStoreDownError
from app.storage.cache import Download
from app.storage.room import storable
from app.tasks.disk import check_room

FIELD = "dataset_url"
MOST_AT_ONCE = 3
"""Data sets that one process fetches at a time."""
FETCH_SECONDS = 900.0
"""Longest that one may take to come."""
RETRY_AFTER = 30
_LONGEST_NAME = 1024
"""Bytes; no provider has longer ones."""
_PLACE = re.compile(r"((?:s3|gs|az)://[^/\s?#*@%]+)/((?:[^/\s?#*%]+/)*[^/\s?#*%]+)")

log = structlog.get_logger(__name__)


class Fetches:
    """Lets few downloads run, on threads of their own: all others answer what is quick.

    Args:
        most: how many at a time.
    """

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._turns = threading.Semaphore(most)

    async def fetch(self, settings: Settings, url: str) -> BinaryIO:
        """Return a file with the bytes of an object; it goes when it is closed.

        Only buckets that `SATS_DATASET_BUCKETS` names are read, through their provider's own
        interface: no URL makes the service ask another host.

        Raises:
            InvalidProblem: the URL names no bucket that may be read, or nothing in it.
            TooLargeProblem: it is longer than a file that is posted may be.
            DiskFullProblem: there is no room for it.
            BusyProblem: as many are fetched as may be.
            UnavailableProblem: it cannot be read now, or not in time.
        """
        bucket, name = _place(settings, url)
        left = threading.Event()
        work = partial(self._in_turn, settings, bucket, name, left)
        try:
            return await to_thread.run_sync(work, limiter=CapacityLimiter(1))
        finally:
            left.set()

    def _in_turn(
        self, settings: Settings, bucket: str, name: str, left: threading.Event
    ) -> BinaryIO:
        # By the thread, which may be at it for a while after its request was given up.
        if not self._turns.acquire(blocking=False):
            raise BusyProblem("as many data sets are being fetched as may be", RETRY_AFTER)
        try:
            return _fetched(settings, bucket, name, left)
        finally:
            self._turns.release()


def check_places(settings: Settings) -> None:
    """Check, at the start, that the buckets of `SATS_DATASET_BUCKETS` can be opened; asks nobody.

    Raises:
        ValueError: one cannot; names it.
    """
    for place in settings.readable_buckets:
        from app.storage.bucket import Bucket  # see `app.storage.opening`

        Bucket.of(settings, place, "SATS_DATASET_BUCKETS")


def _fetched(settings: Settings, bucket: str, name: str, left: threading.Event) -> BinaryIO:
    """Download an object to a file that has no name, until nobody waits for it any more."""
    ends = time.monotonic() + FETCH_SECONDS
    with _told_of(bucket):
        download = _begun(settings, bucket, name)
        if download.size > settings.max_upload_bytes:
            raise _too_large(settings.max_upload_bytes)
        check_room(settings, coming=download.size)
        with storable(FIELD), ExitStack() as stack:
            settings.incoming_dir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(tempfile.TemporaryFile(dir=settings.incoming_dir))
            for chunk in download.chunks:
                if left.is_set() or time.monotonic() > ends:
                    raise UnavailableProblem(f"`{FIELD}` did not come in time", RETRY_AFTER)
                file.write(chunk)
            file.seek(0)
            stack.pop_all()  # it is whole: the request closes it
    return file


def _begun(settings: Settings, bucket: str, name: str) -> Download:
    from app.storage.bucket import Bucket  # see `app.storage.opening`

    try:
        place = Bucket.of(settings, bucket, "SATS_DATASET_BUCKETS", FETCH_SECONDS)
        return place.read_as_guest(name)
    except BlobMissingError as error:
        raise _refused("there is no such object", Code.MISSING) from error
    except BlobRefusedError as error:
        log.warning("dataset_url_refused", bucket=bucket, error=str(error))
        why = "there is no such object, or the service has no right to get it"
        raise _refused(why, Code.FORBIDDEN) from error


@contextmanager
def _told_of(bucket: str) -> Iterator[None]:
    try:
        yield
    except BlobStoreDownError as error:
        log.warning("dataset_bucket_unavailable", bucket=bucket, error=str(error))
        raise UnavailableProblem(f"the bucket of `{FIELD}` does not answer", 5) from error


def _place(settings: Settings, url: str) -> tuple[str, str]:
    """Return a bucket that may be read, and the name of something in it."""
    found = _PLACE.fullmatch(url)
    if found is None or any(part in (".", "..") for part in found[2].split("/")):
        raise _refused("not `s3://bucket/name`, `gs://...` or `az://...`", Code.INVALID)
    if len(found[2].encode()) > _LONGEST_NAME or not found[2].isprintable():
        raise _refused("no object can have this name", Code.INVALID)
    if not any(url.startswith(f"{one}/") for one in settings.readable_buckets):
        raise _refused("SATS_DATASET_BUCKETS does not name this bucket", Code.FORBIDDEN)
    return found[1], found[2]


def _refused(why: str, code: Code) -> InvalidProblem:
    return InvalidProblem(f"`{FIELD}`: {why}", [ErrorDetail(why, field=FIELD, code=code)])


def _too_large(most: int) -> TooLargeProblem:
    fault = ErrorDetail(f"more than {most} bytes", field=FIELD, code=Code.TOO_LARGE)
    return TooLargeProblem(f"what `{FIELD}` names has more than {most} bytes", [fault])
