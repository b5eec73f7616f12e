"""Asks the blob store whether it can be written, beside the worker that waits for the answer."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from app.storage import BlobStore

LISTEN_SECONDS = 0.2
"""How soon who waits sees that it should not."""
ANSWER_SECONDS = 5.0
"""How long one question may go without an answer."""
PAUSE_SECONDS = 5.0
"""How long it is left alone before it is asked again."""
MOST_SECONDS = 600.0
"""How long a worker waits for the store before it takes up something else."""


class StoreProbe:
    """Asks in a thread: a mount that hangs holds that thread, and nobody else.

    There is one question at a time, so that a store that hangs for hours holds one thread.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._asked: Future[bool] | None = None

    def answers(self, interrupted: Callable[[], bool]) -> bool:
        """Return whether the store can be written; one that says nothing, or too late, cannot."""
        if self._asked is None or self._asked.done():
            self._asked = Future()
            asking = threading.Thread(target=self._ask, args=(self._asked,), daemon=True)
            asking.start()
        until = time.monotonic() + ANSWER_SECONDS
        while not wait([self._asked], LISTEN_SECONDS).done:
            if interrupted() or time.monotonic() >= until:
                return False
        return self._asked.result()

    def await_answer(self, interrupted: Callable[[], bool]) -> None:
        """Wait until the store can be written, something interrupts, or it took too long.

        Even one that answers is left alone first: where one blob of it cannot be read, its task is
        not to be claimed again and again without a pause.
        """
        until = time.monotonic() + MOST_SECONDS
        while time.monotonic() < until:
            asked_at = time.monotonic() + PAUSE_SECONDS
            while time.monotonic() < asked_at:
                if interrupted():
                    return
                time.sleep(LISTEN_SECONDS)
            if self.answers(interrupted):
                return

    def _ask(self, asked: "Future[bool]") -> None:
        try:
            asked.set_result(self._blobs.answers())
        except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
            asked.set_exception(error)
