"""Means of what is known; what a few seeds say: paired differences with 95 % intervals."""

from collections.abc import Iterable, Mapping
from math import sqrt
from statistics import NormalDist, mean, stdev
from typing import NamedTuple

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, 97.5 % quantile, by degrees of freedom from 1 on."""


def t_975(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, to 0.001.

    Beyond the table by its expansion about the normal quantile (Abramowitz and Stegun, 26.7.5).
    """
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


class Interval(NamedTuple):
    """A mean over seeds with its 95 % confidence interval (Student's t, n - 1 degrees of freedom).

    Attributes:
        mean: over the seeds.
        low, high: ends of the interval; None with one seed, which gives none.
        seeds: how many.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @classmethod
    def of(cls, values: list[float]) -> "Interval":
        """Return the interval of one value a seed."""
        middle = mean(values)
        if len(values) == 1:
            return cls(middle, None, None, 1)
        half = t_975(len(values) - 1) * stdev(values) / sqrt(len(values))
        return cls(middle, middle - half, middle + half, len(values))

    @property
    def above_zero(self) -> bool | None:
        """Whether the whole interval is; None with one seed."""
        return None if self.low is None else self.low > 0

    @property
    def below_zero(self) -> bool | None:
        """Whether the whole interval is; None with one seed."""
        return None if self.high is None else self.high < 0

    def __str__(self) -> str:
        """Return it as tables show it."""
        if self.low is None or self.high is None:
            return f"{self.mean:.3f} (one seed: no interval)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None; None without any."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def paired(
    first: Mapping[int, float | None], second: Mapping[int, float | None]
) -> Interval | None:
    """Return the interval of first less second over the seeds that both have; None without any."""
    differences = [
        a - b
        for seed, a in sorted(first.items())
        if a is not None and (b := second.get(seed)) is not None
    ]
    return Interval.of(differences) if differences else None
