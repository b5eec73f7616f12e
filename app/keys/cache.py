"""Callers that were looked up lately, so that a request need not ask the database who calls."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from app.db import is_unreachable
from app.errors import UnauthorizedProblem
from app.keys.service import Caller

MOST_CALLERS = 1024

KEYLESS = ""
"""Stands for the digest of a caller who needs no key, because none was ever made."""

KEYLESS_SECONDS = 1.0
"""Longest time for which that is believed."""


@dataclass(frozen=True)
class _Known:
    caller: Caller
    asked: float
    """When the last question to the database was over, whether it answered or not."""
    confirmed: float
    """When it said last that the key is good."""
    doubted: bool = False
    """Whether it had no time for the last question: that is no outage."""


class CallerCache:
    """Callers by the digest of their key; the least recently used go first.

    What a cached caller may miss: that its key was revoked, or changed, by another process (`sats
    keys` is one), for `fresh_seconds`. That a first key was made, so that callers of this machine
    need one too, is missed for a second at most, and no longer than until it calls. While the
    database does not answer, both are missed for `outage_seconds`: only what needs no database,
    `/segment` and `/classes`, is answered then. The process that revokes a key calls `clear` once
    that is committed, and misses nothing. Whoever compares the caller with the clock does it at
    every request: a key's end is not missed.

    One thread at a time asks about a key. Whoever comes meanwhile takes the caller as it was known,
    so that a database that keeps its askers waiting holds up one request of a key and not all.

    Only who was let in is kept, so that wrong keys push nobody out.

    Args:
        fresh_seconds: for so long the database is not asked again.
        outage_seconds: after so long without its word nobody is let in any more.
        most: callers that are kept.
    """

    def __init__(
        self, fresh_seconds: float, outage_seconds: float, most: int = MOST_CALLERS
    ) -> None:
        self._fresh_seconds = fresh_seconds
        self._outage_seconds = outage_seconds
        self._most = most
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, Future[Caller]] = {}
        self._cleared = 0
        self._lock = threading.Lock()

    def fresh(self, digest: str) -> Caller | None:
        """Return a caller who was asked about lately; asks nobody."""
        with self._lock:
            known = self._known.get(digest)
            seconds = self._fresh_seconds
            if digest == KEYLESS:
                seconds = min(seconds, KEYLESS_SECONDS)
            if known is None or time.monotonic() - known.asked >= seconds:
                return None
            self._known.move_to_end(digest)
            return known.caller

    def look_up(self, digest: str, ask: Callable[[], Caller]) -> Caller:
        """Return the caller that the database names, or the one it named before it fell silent.

        Args:
            digest: of the key, or KEYLESS.
            ask: asks the database.

        Raises:
            UnauthorizedProblem: there is no such key, or it was revoked.
            SQLAlchemyError: the database does not answer.
        """
        with self._lock:
            others = self._asking.get(digest)
            if others is None:
                asking = self._asking[digest] = Future[Caller]()
            elif (known := self._known.get(digest)) and self._bears(known) and not known.doubted:
                return known.caller
        if others is not None:
            return others.result()
        try:
            caller = self._answer(digest, ask)
        except BaseException as error:
            asking.set_exception(error)
            raise
        else:
            asking.set_result(caller)
            return caller
        finally:
            with self._lock:
                if self._asking.get(digest) is asking:
                    del self._asking[digest]

    def _answer(self, digest: str, ask: Callable[[], Caller]) -> Caller:
        with self._lock:
            cleared, began = self._cleared, time.monotonic()
        try:
            caller = ask()
        except UnauthorizedProblem:
            with self._lock:
                self._known.pop(digest, None)
            raise
        except SQLAlchemyError as error:
            with self._lock:
                known = self._known.get(digest)
                if known is None:
                    raise
                if not is_unreachable(error):
                    self._known[digest] = replace(known, doubted=True)
                    raise
                if not self._bears(known):
                    raise
                self._keep(digest, _Known(known.caller, time.monotonic(), known.confirmed))
            return known.caller
        with self._lock:
            if digest != KEYLESS:
                self._known.pop(KEYLESS, None)  # there is a key: nobody does without any more
            if cleared == self._cleared:  # else this answer may be older than a revocation
                # What the database says is as old as the question may be.
                self._keep(digest, _Known(caller, began, began))
        return caller

    def _bears(self, known: _Known) -> bool:
        """Whether a caller may be let in without the database's word."""
        return time.monotonic() - known.confirmed < self._outage_seconds

    def clear(self) -> None:
        """Ask again for everybody: a key was made, changed or revoked, and that is committed."""
        with self._lock:
            self._cleared += 1
            self._known.clear()
            self._asking.clear()  # who comes from now on does not wait for an older answer

    def _keep(self, digest: str, known: _Known) -> None:
        self._known[digest] = known
        self._known.move_to_end(digest)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
