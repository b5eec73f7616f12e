"""How many zips a process makes at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import BusyProblem

RETRY_AFTER = 30
"""Seconds; a zip takes as long as its pictures do."""


class Downloads:
    """One zip at a time: the threads that read it are those that posted pictures need, too."""

    def __init__(self) -> None:
        self._busy = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other be made while the block runs; of one event loop.

        Raises:
            BusyProblem: another is made.
        """
        if self._busy:
            raise BusyProblem("another zip of held-out pictures is being sent", RETRY_AFTER)
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
