"""A posted file on its way into the store. Web-free."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

from app.errors import ErrorDetail, TooLargeProblem
from app.errors.codes import Code
from app.storage import (
    Blob,
    BlobDamagedError,
    BlobMissingError,
    BlobStore,
    StagedBlob,
    TooLargeError,
)
from app.storage.room import storable
from app.uploads.tokens import gone
from sats_core.data.sources import Archive


@contextmanager
def staged(blobs: BlobStore, field: str, file: BinaryIO, most: int) -> Iterator[StagedBlob]:
    """Stage a file that came as `field`; it is stored when the block publishes it.

    Raises:
        TooLargeProblem: it has more than `most` bytes.
        DiskFullProblem: there is no room for it.
    """
    try:
        with storable(field), blobs.stage(file, most) as one:
            yield one
    except TooLargeError as error:
        fault = ErrorDetail(f"more than {most} bytes", field=field, code=Code.TOO_LARGE)
        raise TooLargeProblem(f"`{field}` has more than {most} bytes", [fault]) from error


def sent_before(blobs: BlobStore, blob: Blob) -> StagedBlob:
    """Return an upload that was stored before; to confirm it is to see that it still is.

    That raises UploadGoneProblem where it is not: a request that is repeated once its task has
    ended, and its upload with it, is a replay all the same.
    """

    def stands() -> None:
        if not blobs.is_there(blob.key):
            raise gone("the upload was removed")

    return StagedBlob(blob, None, confirm=stands)


@contextmanager
def still_there(opened: AbstractContextManager[Archive]) -> Iterator[Archive]:
    """Give what reads an upload that was stored before, a zip, inside of the block.

    Args:
        opened: by the store, `BlobStore.whole` or `BlobStore.in_places`.

    Raises:
        UploadGoneProblem: it is not there, any more.
        BlobStoreDownError: it cannot be read.
    """
    try:
        with opened as archive:
            yield archive
    except (BlobMissingError, BlobDamagedError) as error:
        raise gone("the upload was removed") from error
