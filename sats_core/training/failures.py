"""What an error that ended a step really was: wrong input, or the machine."""

import errno
from collections.abc import Iterator

import torch

from sats_core.errors import CoreError, DatasetError, ExportError
from sats_core.events import FailedEvent, Fault

NO_MEMORY = (
    "can't allocate memory",  # torch's CPU allocator
    "not enough memory",
    "CUDA error: out of memory",
    "_ALLOC_FAILED",  # cuBLAS, cuDNN
    "Failed to allocate memory",  # onnxruntime
    "bad_alloc",
)
"""What errors say that have no type of their own."""
FULL_DISK = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")
"""The same of libraries that are not written in Python."""


class RankFailedError(Exception):
    """Another rank of the step said why it cannot go on.

    Attributes:
        failure: what it said; it is the step's.
    """

    def __init__(self, failure: FailedEvent) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failure_of(error: BaseException) -> FailedEvent | None:
    """Return how a step failed; None: a bug of ours, or an error that nobody knows.

    A full disk or a lack of memory is found behind whatever was made of it on the way up.
    """
    if isinstance(error, RankFailedError):
        return error.failure
    behind = list(_chain(error))
    if any(map(lacks_memory, behind)):
        return FailedEvent(cause="memory", message=f"memory ran out: {_line(error)}")
    if any(map(_is_full_disk, behind)):
        return FailedEvent(cause="disk", message=f"the disk is full: {_line(error)}")
    if isinstance(error, ExportError):
        return FailedEvent(cause="export", message=str(error))
    if isinstance(error, DatasetError):
        faults = tuple(
            Fault(reason=i.reason, file=i.file, class_name=i.class_name, code=i.code)
            for i in error.issues
        )
        return FailedEvent(message=error.message, faults=faults)
    return FailedEvent(message=str(error)) if isinstance(error, CoreError) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of this machine or of a device."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or _says(error, NO_MEMORY)


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return _says(error, FULL_DISK)


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    # Only what libraries raise: the input's own words, a file's name, must not decide.
    return not isinstance(error, CoreError) and any(text in str(error) for text in texts)


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
