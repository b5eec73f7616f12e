"""What is told of a disk that is full while bytes come in."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import DiskFullProblem
from app.storage.errors import NO_ROOM


@contextmanager
def storable(field: str) -> Iterator[None]:
    """Say of a disk that is full that what came as `field` has no room.

    Raises:
        DiskFullProblem: it has none.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DiskFullProblem(f"`{field}` could not be stored: {error.strerror}") from error
