"""How many requests with pictures a key has under way.

Counted in memory, by each process of the API for itself: what another one has under way may be over
before anybody is told.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.keys.problems import ConcurrencyLimitProblem
from app.keys.service import Caller

RETRY_SECONDS = 1
"""When to ask again: nobody knows when an answer will be out."""


class Underway:
    """Requests that are being answered, of each key that may have so many at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[int, int] = {}

    @contextmanager
    def one(self, caller: Caller) -> Iterator[None]:
        """Count one request while the block runs, however it ends.

        Raises:
            ConcurrencyLimitProblem: as many are under way as may be.
        """
        limit, key_id = caller.limits.concurrent_requests, caller.key_id
        if limit is None or key_id is None:
            yield
            return
        self._begin(key_id, limit, caller.name)
        try:
            yield
        finally:
            self._end(key_id)

    def of(self, key_id: int) -> int:
        """Return how many requests of a key are under way."""
        with self._lock:
            return self._counts.get(key_id, 0)

    def _begin(self, key_id: int, limit: int, name: str) -> None:
        with self._lock:
            count = self._counts.get(key_id, 0)
            if count < limit:
                self._counts[key_id] = count + 1
                return
        requests = "request" if limit == 1 else "requests"
        raise ConcurrencyLimitProblem(
            f"the key {name!r} may have {limit} {requests} with pictures under way at a time",
            RETRY_SECONDS,
            limit,
        )

    def _end(self, key_id: int) -> None:
        with self._lock:
            left = self._counts[key_id] - 1
            if left:
                self._counts[key_id] = left
            else:
                del self._counts[key_id]
