"""Threads that do the same thing again and again."""

import threading
from collections.abc import Callable

import structlog

from app.db import is_passing

log = structlog.get_logger(__name__)


class Repeating:
    """A thread that acts now, and then with the same pause after each time.

    Args:
        name: the thread's, in the log too.
        act: what it does; an error is logged and the next time comes all the same.
        pause_seconds: between an end and the next beginning.
    """

    def __init__(self, name: str, act: Callable[[], None], pause_seconds: float) -> None:
        self._name = name
        self._act = act
        self._pause_seconds = pause_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def once(self) -> None:
        """Act now, on the caller's thread, whether or not the other one is at it too."""
        try:
            self._act()
        except Exception as error:
            # The thread must outlive any one error: it is what everything falls back on.
            if is_passing(error):
                log.warning("repeated_act_failed", thread=self._name, error=str(error))
            else:
                log.exception("repeated_act_failed", thread=self._name)

    def stop(self, patience_seconds: float | None = None) -> None:
        """End the thread; what it does at the moment is finished first, or left after a while."""
        self._over.set()
        self._thread.join(patience_seconds)

    def _run(self) -> None:
        while not self._over.is_set():
            self.once()
            self._over.wait(self._pause_seconds)
