"""A zip that lies in somebody's bucket, fetched as if it had been posted. Web-free."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from app.errors import ErrorDetail, InvalidProblem, TooLargeProblem
from app.errors.codes import Code
from app.settings import Settings
from app.storage import BlobMissingError

FIELD = "dataset_url"
_PLACE = re.compile(r"((?:s3|gs|az)://[^/\s?#*@%]+)/((?:[^/\s?#*%]+/)*[^/\s?#*%]+)")


@contextmanager
def fetched(settings: Settings, url: str) -> Iterator[BinaryIO]:
    """Give a file with the bytes of an object; it goes at the end of the block.

    Only buckets that `SATS_DATASET_BUCKETS` names are read, through their provider's own interface:
    no URL makes the service ask another host.

    Raises:
        InvalidProblem: the URL names no bucket that may be read, or nothing in it.
        TooLargeProblem: it is longer than a file that is posted may be.
        BlobStoreDownError: it cannot be read now.
    """
    bucket, name = _place(settings, url)
    from app.storage.bucket import Bucket  # see `app.storage.opening`

    try:
        download = Bucket.of(settings, bucket).read(name)
    except BlobMissingError as error:
        raise _refused("there is no such object", Code.MISSING) from error
    most = settings.max_upload_bytes
    if download.size > most:
        fault = ErrorDetail(f"more than {most} bytes", field=FIELD, code=Code.TOO_LARGE)
        raise TooLargeProblem(f"what `{FIELD}` names has more than {most} bytes", [fault])
    settings.incoming_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=settings.incoming_dir) as file:
        for chunk in download.chunks:
            file.write(chunk)
        file.seek(0)
        yield file


def _place(settings: Settings, url: str) -> tuple[str, str]:
    """Return a bucket that may be read, and the name of something in it."""
    found = _PLACE.fullmatch(url)
    if found is None or any(part in (".", "..") for part in found[2].split("/")):
        raise _refused("not `s3://bucket/name`, `gs://...` or `az://...`", Code.INVALID)
    if not any(url.startswith(f"{one}/") for one in settings.readable_buckets):
        raise _refused("SATS_DATASET_BUCKETS does not name this bucket", Code.FORBIDDEN)
    return found[1], found[2]


def _refused(why: str, code: Code) -> InvalidProblem:
    return InvalidProblem(f"`{FIELD}`: {why}", [ErrorDetail(why, field=FIELD, code=code)])
