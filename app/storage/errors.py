"""What goes wrong with blobs and their stores."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)
"""What this process or its machine lacks: no fault of the store."""
FORBIDDEN = (errno.EACCES, errno.EPERM)
"""What is said of a file that is another user's: no fault of what lies beside it."""


class BlobMissingError(Exception):
    """No blob has this key."""


class BlobRefusedError(Exception):
    """The store answers and does not let us in.

    Of an object of others that is not there it says the same, unless we may list them.
    """


class BlobDamagedError(Exception):
    """The bytes of a blob are not those that were stored."""


class BlobStoreDownError(OSError):
    """The store itself cannot be read or written; its blobs may be whole."""


class SentInVainError(BlobStoreDownError):
    """What was sent was deleted before it was published: it is to be sent again."""


@contextmanager
def told() -> Iterator[None]:
    """Say of an error of the file system that the store is down, where it is the store's.

    Raises:
        BlobStoreDownError: it is.
        OSError: this process may open no more files.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_MORE_FILES:
            raise
        raise BlobStoreDownError(error.errno, error.strerror, error.filename) from error


class TooLargeError(Exception):
    """More bytes came than the caller allowed; nothing was kept."""
