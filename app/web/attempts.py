"""How often somebody may try to log in."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from app.errors import Problem

MOST_FAILED = 10
SECONDS = 60.0
MOST_ADDRESSES = 4096


class TooManyAttemptsProblem(Problem):
    """Too many wrong keys came from one address within a minute."""

    status = 429
    slug = "too-many-attempts"
    title = "Too many attempts to log in"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many wrong keys: wait {retry_after} seconds and try again")
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come back."""
        return {"Retry-After": str(self.retry_after)}


class Attempts:
    """Failed attempts of the last minute, by address; each process counts for itself.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Check that an address may try once more.

        Raises:
            TooManyAttemptsProblem: it has failed too often.
        """
        with self._lock:
            recent = self._recent(address)
        if len(recent) >= MOST_FAILED:
            left = recent[0] + SECONDS - self._clock()
            raise TooManyAttemptsProblem(max(1, math.ceil(left)))

    def failed(self, address: str) -> None:
        """Count a failed attempt; the address that failed longest ago is forgotten first."""
        with self._lock:
            self._failed[address] = [*self._recent(address), self._clock()]
            self._failed.move_to_end(address)
            while len(self._failed) > MOST_ADDRESSES:
                self._failed.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        now = self._clock()
        return [at for at in self._failed.get(address, ()) if now - at < SECONDS]
