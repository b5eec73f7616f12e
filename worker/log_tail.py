"""The last lines that a training process wrote."""

import threading

MOST_BYTES = 64 * 1024


class LogTail:
    """Keeps the end of what it is given, from a line's beginning on; safe from any thread.

    Args:
        before: what earlier tries of the same task wrote.
    """

    def __init__(self, before: str = "") -> None:
        self._lock = threading.Lock()
        self._kept = bytearray(before.encode())
        self._changed = False

    def add(self, data: bytes) -> None:
        """Append; what is too long by then loses its beginning."""
        with self._lock:
            self._kept += data
            self._changed = True
            if len(self._kept) > MOST_BYTES:
                del self._kept[: len(self._kept) - MOST_BYTES]
                del self._kept[: self._kept.find(b"\n") + 1]

    def take(self) -> str | None:
        """Return the text, or None if it is what was taken last."""
        with self._lock:
            if not self._changed:
                return None
            self._changed = False
            # Postgres stores no NUL.
            return self._kept.decode(errors="replace").replace("\0", "\ufffd")

    def give_back(self) -> None:
        """Say that what was taken last came to nothing: it is to be taken again."""
        with self._lock:
            self._changed = True
