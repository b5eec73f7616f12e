"""Room that requests take and give back: places for pictures, bytes of memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class FullError(Exception):
    """So much is not free; trying again a little later helps."""


class OverBudgetError(FullError):
    """More than there is in all; trying again does not help."""


class Budget:
    """An amount that several threads take of.

    Args:
        total: all there is.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """What nobody holds now."""
        with self._lock:
            return self._free

    @contextmanager
    def hold(self, amount: int) -> Iterator["Share"]:
        """Hold an amount while the block runs, all or nothing of it.

        Raises:
            FullError: so much is not free.
            OverBudgetError: so much never is.
        """
        share = Share(self)
        share.grow(amount)
        try:
            yield share
        finally:
            with self._lock:
                self._free += share.amount

    def take(self, amount: int, share: "Share") -> None:
        """Take an amount for a share; the block that holds it gives it back.

        Raises:
            FullError: so much is not free.
            OverBudgetError: with what the share has already it is more than there is in all.
        """
        with self._lock:
            if share.amount + amount > self.total:
                raise OverBudgetError
            if amount > self._free:
                raise FullError
            self._free -= amount
            share.amount += amount


class Share:
    """What one request holds of a budget; several threads may make it more.

    Attributes:
        amount: how much.
    """

    def __init__(self, budget: Budget) -> None:
        self.amount = 0
        self._budget = budget

    def grow(self, amount: int) -> None:
        """Hold more.

        Raises:
            FullError: so much is not free.
            OverBudgetError: with what is held already it is more than there is in all.
        """
        self._budget.take(amount, self)
