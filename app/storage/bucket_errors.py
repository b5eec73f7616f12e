"""What a bucket's client raises, in this package's own words."""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from app.storage.errors import BlobStoreDownError

REFUSALS = (PermissionDeniedError, UnauthenticatedError)
"""The store answers and does not let us in."""
_MOST_SAID = 300


def told() -> AbstractContextManager[None]:
    """Say of what goes wrong on the way to the store that it is down.

    Raises:
        BlobStoreDownError: it is.
    """
    return told_but(AlreadyExistsError)


@contextmanager
def told_but(*others: type[Exception]) -> Iterator[None]:
    """Do the same, but for errors that mean something else."""
    try:
        yield
    except others:
        raise
    except (BaseError, OSError) as error:
        raise BlobStoreDownError(errno.EIO, short(error)) from error


def short(error: Exception) -> str:
    """Return what an error says, as one line that is not too long."""
    return " ".join(str(error).split())[:_MOST_SAID]
