"""How much a key asks for in a minute.

Counted in memory, so that no request waits for it. A moment later the other processes are told
what was spent here, and it is learned what was there (`app.keys.exchange`): a burst that comes
to all at once may be let in by each, and is paid back by those that come after it.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import TooLargeProblem
from app.keys.ledgers import Ledger
from app.keys.problems import LimitProblem, PictureLimitProblem, RequestLimitProblem
from app.keys.service import Caller

SECONDS = 60.0
ASK_SECONDS = 1.0
"""How long it may be that nobody asked what the others have spent, while a key is in use."""
LITTLE = 1e-3
"""Of a request, or a second, by which a bucket is not told from a fuller one: clocks are floats."""


@dataclass
class _Bucket:
    """What is left of a minute's limit; less than nothing where processes let in too much."""

    left: float
    at: float
    """When so much was left."""
    limit: int
    used: float
    """When it was looked at last."""
    untold: float = 0.0
    """What was spent since the others were told."""
    told: float = -math.inf
    """When they were, and it was learned what they have spent."""

    def fill(self, limit: int, now: float) -> None:
        """Let in what came back since."""
        self.left = min(float(limit), self.left + (now - self.at) * limit / SECONDS)
        self.at, self.limit = now, limit

    def due(self, now: float) -> bool:
        """Whether the others are to be told or asked."""
        return self.untold > 0 or (now - self.used < SECONDS and now - self.told >= ASK_SECONDS)

    def forgettable(self, now: float) -> bool:
        """Whether it is out of use, and as full as one that was never used."""
        back = self.left + (now - self.at) * self.limit / SECONDS
        return not self.untold and now - self.used >= SECONDS and back >= self.limit

    def tell(self, now: float) -> float:
        """Return what the others are to be told.

        What came back since it was spent is none of it: where nobody could be told for an hour,
        an hour's requests would keep the key out as if they had come in a minute.
        """
        self.fill(self.limit, now)
        self.untold = min(self.untold, self.limit - self.left)
        return self.untold


class Rates:
    """Buckets that hold what a minute allows and fill up evenly, one for a key and what it spends.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[int, type[LimitProblem]], _Bucket] = {}
        self.spent = threading.Event()
        """Something was, and nobody was told yet."""

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

    def exchange(self, ledger: Ledger) -> bool:
        """Tell the others what was spent here, and learn what was there.

        Returns:
            Whether it is to be asked again though nothing is spent here: a key is in use.

        Raises:
            AwayError: the ledger does not answer; what was not told is told the next time.
        """
        self.spent.clear()
        with self._lock:
            now = self._clock()
            # Requests wait for the lock: of many keys those alone are gone through that are in use.
            self._buckets = {
                of: one for of, one in self._buckets.items() if not one.forgettable(now)
            }
            told = {of: one.tell(now) for of, one in self._buckets.items() if one.due(now)}
            seconds = {
                _name(*of): amount * SECONDS / self._buckets[of].limit
                for of, amount in told.items()
            }
        if told:
            owed = ledger.spend(seconds)
            with self._lock:
                self._learn(told, owed)
        with self._lock:
            return any(now - one.used < SECONDS for one in self._buckets.values())

    def _learn(
        self, told: dict[tuple[int, type[LimitProblem]], float], owed: dict[str, float]
    ) -> None:
        """Take over what all have spent; the lock is held."""
        now = self._clock()
        for of, amount in told.items():
            bucket = self._buckets[of]
            bucket.untold -= amount
            bucket.left = bucket.limit * (1 - owed[_name(*of)] / SECONDS) - bucket.untold
            bucket.at = bucket.told = now

    def _pictures(self, caller: Caller, pictures: int, amount: int) -> None:
        limit = caller.limits.pictures_per_minute
        if limit is not None and pictures > limit:
            raise TooLargeProblem(
                f"{pictures} pictures; the key {caller.name!r} may send {limit} a minute"
            )
        self._spend(caller, PictureLimitProblem, "pictures", limit, amount)

    def _left(self, key_id: int, kind: type[LimitProblem], limit: int) -> tuple[int, int]:
        """Return what a bucket holds, and the seconds until there is one more; 0: it is full."""
        with self._lock:
            left = self._filled(key_id, kind, limit).left
        whole = max(0, math.floor(left + LITTLE))
        return whole, _seconds(whole + 1 - left, limit) if whole < limit else 0

    def _filled(self, key_id: int, kind: type[LimitProblem], limit: int) -> _Bucket:
        """Return a bucket as it is now; the lock is held."""
        now = self._clock()
        bucket = self._buckets.get((key_id, kind))
        if bucket is None:
            bucket = self._buckets[key_id, kind] = _Bucket(float(limit), now, limit, now)
        bucket.fill(limit, now)
        bucket.used = now
        return bucket

    def _spend(
        self, caller: Caller, kind: type[LimitProblem], what: str, limit: int | None, amount: int
    ) -> None:
        if limit is None or caller.key_id is None or not amount:
            return  # nothing of it: what others spent since does not take back what was counted
        missing = self._take(caller.key_id, kind, limit, amount)
        if missing > 0:
            message = f"the key {caller.name!r} may send {limit} {what} a minute"
            left = max(0, math.floor(amount - missing + LITTLE))
            raise kind(message, _seconds(missing, limit), limit, left=left)

    def _take(self, key_id: int, kind: type[LimitProblem], limit: int, amount: int) -> float:
        """Take an amount out of a bucket if it is there; return how much is missing."""
        with self._lock:
            bucket = self._filled(key_id, kind, limit)
            missing = amount - bucket.left
            if missing > LITTLE:
                return missing
            bucket.left -= amount
            bucket.untold += amount
        self.spent.set()
        return 0.0


def _seconds(missing: float, limit: int) -> int:
    """Return when so much more is there, in whole seconds, at least one."""
    return max(1, math.ceil(missing * SECONDS / limit - LITTLE))


def _name(key_id: int, kind: type[LimitProblem]) -> str:
    return f"{key_id}:{kind.policy}"
