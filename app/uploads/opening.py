"""From a token to a data set that can be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.datasets import check_names
from app.errors import ErrorDetail, TooLargeProblem
from app.errors.codes import Code
from app.http.dependencies import Services
from app.keys.service import Caller
from app.storage import BlobDamagedError, BlobMissingError
from app.uploads.tokens import gone, read_token
from sats_core.data.readers import Reader, glance, open_reader
from sats_core.data.sources import ZipSource
from sats_core.settings import Limits

LARGEST_ANNOTATIONS = 32 * 1024 * 1024
"""Most bytes of annotations that are read whole for a look; a task reads more."""


def upload_path(services: Services, caller: Caller, token: str) -> Path:
    """Return where lies what a caller's token stands for.

    Raises:
        UploadGoneProblem: nothing, or nothing any more.
    """
    found = read_token(services.secret, token, caller.key_id)
    try:
        return services.blobs.path(found.blob.key)
    except (BlobMissingError, BlobDamagedError) as error:
        raise gone("the upload was removed") from error


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[Reader]:
    """Open an upload's data set.

    Raises:
        DatasetError: it is none.
        TooLargeProblem: its annotations are too long for a look.
    """
    with ZipSource(path, limits) as source:
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
