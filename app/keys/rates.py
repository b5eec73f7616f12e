"""How much a key asks for in a minute.

Counted in memory, by each process of the API for itself: with four of them a key may do up to four
times what its limits say, and a restart forgets what was counted.
"""

import math
import threading
import time
from collections.abc import Callable

from app.errors import TooLargeProblem
from app.keys.problems import LimitProblem, PictureLimitProblem, RequestLimitProblem
from app.keys.service import Caller

SECONDS = 60.0


class Rates:
    """Buckets that hold what a minute allows and fill up evenly, one for a key and what it spends.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[int, type[LimitProblem]], tuple[float, float]] = {}

    def request(self, caller: Caller) -> None:
        """Count one request.

        Raises:
            RequestLimitProblem: there were too many in the last minute.
        """
        self._spend(caller, RequestLimitProblem, "requests", caller.limits.requests_per_minute, 1)

    def first_picture(self, caller: Caller) -> None:
        """Count the picture that a request has at least, before its body is read.

        Raises:
            PictureLimitProblem: there were too many in the last minute.
        """
        limit = caller.limits.pictures_per_minute
        self._spend(caller, PictureLimitProblem, "pictures", limit, 1)

    def other_pictures(self, caller: Caller, pictures: int) -> None:
        """Count a request's pictures but the first, when all of them have come.

        Raises:
            PictureLimitProblem: there were too many in the last minute.
            TooLargeProblem: together they are more than a whole minute allows.
        """
        self._pictures(caller, pictures, pictures - 1)

    def named_pictures(self, caller: Caller, pictures: int) -> None:
        """Count pictures that a request names instead of bringing them, all at once.

        Raises:
            PictureLimitProblem, TooLargeProblem: as `other_pictures`.
        """
        self._pictures(caller, pictures, pictures)

    def _pictures(self, caller: Caller, pictures: int, amount: int) -> None:
        limit = caller.limits.pictures_per_minute
        if limit is not None and pictures > limit:
            raise TooLargeProblem(
                f"{pictures} pictures; the key {caller.name!r} may send {limit} a minute"
            )
        self._spend(caller, PictureLimitProblem, "pictures", limit, amount)

    def headers(self, caller: Caller) -> dict[str, str]:
        """Return how much a caller may ask for in a minute and what is left of it; {}: any."""
        limits = {
            RequestLimitProblem: caller.limits.requests_per_minute,
            PictureLimitProblem: caller.limits.pictures_per_minute,
        }
        set_ = [(kind, limit) for kind, limit in limits.items() if limit is not None]
        if not set_ or caller.key_id is None:
            return {}
        left = [kind.left_of(*self._left(caller.key_id, kind, limit)) for kind, limit in set_]
        policies = (kind.policy_of(limit) for kind, limit in set_)
        return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)}

    def _left(self, key_id: int, kind: type[LimitProblem], limit: int) -> tuple[int, int]:
        """Return what a bucket holds, and the seconds until there is one more; 0: it is full."""
        with self._lock:
            left, _ = self._level(key_id, kind, limit)
        whole = math.floor(left + 1e-9)
        return whole, math.ceil((whole + 1 - left) * SECONDS / limit) if whole < limit else 0

    def _level(self, key_id: int, kind: type[LimitProblem], limit: int) -> tuple[float, float]:
        """Return what a bucket holds now, and when that is; the lock is held."""
        now = self._clock()
        left, at = self._buckets.get((key_id, kind), (float(limit), now))
        return min(float(limit), left + (now - at) * limit / SECONDS), now

    def _spend(
        self, caller: Caller, kind: type[LimitProblem], what: str, limit: int | None, amount: int
    ) -> None:
        if limit is None or caller.key_id is None:
            return
        missing = self._take(caller.key_id, kind, limit, amount)
        if missing > 0:
            message = f"the key {caller.name!r} may send {limit} {what} a minute"
            wait = max(1, math.ceil(missing * SECONDS / limit))
            raise kind(message, wait, limit, left=math.floor(amount - missing + 1e-9))

    def _take(self, key_id: int, kind: type[LimitProblem], limit: int, amount: int) -> float:
        """Take an amount out of a bucket if it is there; return how much is missing."""
        with self._lock:
            left, now = self._level(key_id, kind, limit)
            missing = amount - left
            # A bucket that filled up to just below a whole number is full: clocks are floats.
            taken = missing <= 1e-9
            self._buckets[key_id, kind] = (left - amount if taken else left, now)
        return 0.0 if taken else missing
