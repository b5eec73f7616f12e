"""From the name of an upload to a data set that can be read."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.db import LargeUploadState, present, read_session
from app.errors import ErrorDetail, TooLargeProblem
from app.errors.codes import Code
from app.http.services import Services
from app.keys.service import Caller
from app.storage import Blob
from app.uploads import large
from app.uploads.datasets import check_names
from app.uploads.problems import UploadUnfinishedProblem
from app.uploads.staging import still_there
from app.uploads.tokens import gone, read_token
from sats_core.data.readers import Reader, glance, open_reader
from sats_core.data.sources import Archive, ZipSource
from sats_core.settings import Limits

WHOLE_BYTES = 64 * 1024 * 1024
"""What is not larger is fetched out of a bucket at once: a look picture by picture asks for about
as much, and takes longer."""
LARGEST_ANNOTATIONS = 32 * 1024 * 1024
"""Most bytes of annotations that are read whole for a look; a task reads more."""


def uploaded(services: Services, caller: Caller, upload: str) -> Blob:
    """Return what a caller sent before and still has, as `named`.

    Raises:
        UploadGoneProblem: the name stands for nothing, or nothing any more.
        UploadUnfinishedProblem: parts of it are missing, or were not put together.
    """
    blob = named(services, caller, upload)
    with read_session(services.engine) as session:
        large.check_held(session, caller.key_id, blob.key)
    return blob


def named(services: Services, caller: Caller, upload: str) -> Blob:
    """Return what a caller sent before; a zip's token stands for it, or a large upload's id.

    A token says nothing of whether the caller has it still (`large.check_held`): of a request that
    is repeated nobody asks that.

    Raises:
        UploadGoneProblem: that stands for nothing.
        UploadUnfinishedProblem: parts of it are missing, or were not put together.
    """
    with read_session(services.engine) as session:
        if not large.is_id(upload):
            return read_token(services.secret, upload, caller.key_id, present(session)).blob
        row = large.find(session, caller.key_id, upload)
    if row is None:
        raise gone("there is no such upload of this key")
    if row.state != LargeUploadState.DONE or row.blob is None:
        fault = ErrorDetail(f"it is {row.state}", field="upload", code=Code.MISSING)
        raise UploadUnfinishedProblem(f"the upload is {row.state}, and not done", [fault])
    return Blob(row.blob, row.bytes)


@contextmanager
def opened_upload(services: Services, blob: Blob) -> Iterator[Reader]:
    """Open the data set of an upload: of a large one in a bucket only what is looked at comes.

    Raises:
        UploadGoneProblem: it is not there any more.
        BlobStoreDownError: it cannot be read.
        DatasetError, TooLargeProblem: as `opened`.
    """
    small = blob.size <= WHOLE_BYTES
    archive = (services.blobs.whole if small else services.blobs.in_places)(blob.key)
    with still_there(archive) as found, opened(found, services.settings.limits) as reader:
        yield reader


@contextmanager
def opened(archive: Archive, limits: Limits) -> Iterator[Reader]:
    """Open a data set that is looked into.

    Raises:
        DatasetError: it is none.
        TooLargeProblem: its annotations are too long for a look.
    """
    with ZipSource(archive, limits) as source:
        if glance(source) is None:
            _check_short(source)
        reader = open_reader(source)
        check_names(source, reader.classes)
        yield reader


def _check_short(source: ZipSource) -> None:
    sizes = {name: source.size(name) for name in source.names() if name.endswith((".json", ".xml"))}
    if sum(sizes.values()) > LARGEST_ANNOTATIONS:
        largest = max(sizes, key=lambda name: sizes[name])
        message = (
            f"annotations of more than {LARGEST_ANNOTATIONS} bytes are not looked at before they "
            "are posted; a task reads them"
        )
        raise TooLargeProblem(message, [ErrorDetail(message, file=largest, code=Code.TOO_LARGE)])
