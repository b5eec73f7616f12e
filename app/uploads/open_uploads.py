"""How many bytes the uploads have that no task has yet, key by key.

Counted in memory, by each process of the API for itself, as requests are: no row says who sent what
is collected by itself. A restart forgets it.
"""

import threading
import time
from dataclasses import dataclass, field

from app.uploads.checks import Checks
from app.uploads.looks import Looks
from app.uploads.remote import Fetches
from app.uploads.tokens import Upload


class OpenUploads:
    """Uploads whose tokens are good; bytes that a key sends twice are stored, and count, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, dict[str, Upload]] = {}

    def add(self, key_id: int, upload: Upload) -> None:
        """Count an upload until it ends."""
        with self._lock:
            self._open.setdefault(key_id, {})[upload.blob.key] = upload

    def drop(self, key_id: int | None, blob: str) -> None:
        """Count an upload no more: a task keeps it, and is counted for it."""
        with self._lock:
            if key_id is not None:
                self._open.get(key_id, {}).pop(blob, None)

    def bytes(self, key_id: int, but: str) -> int:
        """Return how many bytes a key's uploads have, without that of one blob."""
        now = time.time()
        with self._lock:
            left = {blob: one for blob, one in self._open.get(key_id, {}).items() if one.ends > now}
            if left:
                self._open[key_id] = left
            else:
                self._open.pop(key_id, None)
            return sum(one.blob.size for blob, one in left.items() if blob != but)


@dataclass(frozen=True)
class UploadState:
    """What a process of the API knows of uploads: turns, which are open, which are checked."""

    looks: Looks = field(default_factory=Looks)
    fetches: Fetches = field(default_factory=Fetches)
    open: OpenUploads = field(default_factory=OpenUploads)
    checks: Checks = field(default_factory=Checks)
