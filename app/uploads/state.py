"""What a process of the API knows of uploads that no row says."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from app.uploads.checks import Checks
from app.uploads.looks import Looks
from app.uploads.remote import Fetches

READERS = 4
"""Threads in which the uploads that a model is asked about are read."""


def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READERS, thread_name_prefix="upload-readers")


@dataclass(frozen=True)
class UploadState:
    """Turns: of those who look, who fetch, and who put parts together.

    Attributes:
        readers: threads that may wait for a bucket; what else the service does goes on meanwhile.
    """

    looks: Looks = field(default_factory=Looks)
    fetches: Fetches = field(default_factory=Fetches)
    checks: Checks = field(default_factory=Checks)
    readers: ThreadPoolExecutor = field(default_factory=_readers)

    def close(self) -> None:
        """End every thread."""
        self.checks.close()
        self.readers.shutdown(cancel_futures=True)
