"""What bars ask of the learning benchmark's records: measured over seeds, held or not."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.intervals import Interval
from benchmarks.learning_plan import FROZEN_BASE, METHODS, Variant
from benchmarks.learning_records import Record, by_seed, difference
from sats_core.version_config import ALL_MLP

WIDEST_TIE = 0.02
"""An interval of mIoU that holds 0 and is wider than this says neither tie nor loss."""


class Measured(NamedTuple):
    """What was measured for a bar.

    Attributes:
        text: in words.
        seeds: from how many.
        holds: whether the bar does; None where it is open.
    """

    text: str
    seeds: int
    holds: bool | None


def at_least(variant: str, key: str, least: float) -> Callable[[list[Record]], Measured | None]:
    """Return what measures that a figure's mean reaches `least`."""
    return lambda records: _limited(records, variant, key, lambda value: value >= least)


def at_most(variant: str, key: str, most: float) -> Callable[[list[Record]], Measured | None]:
    """Return what measures that a figure's mean does not exceed `most`."""
    return lambda records: _limited(records, variant, key, lambda value: value <= most)


def _limited(
    records: list[Record], variant: str, key: str, holds: Callable[[float], bool]
) -> Measured | None:
    values = [v for v in by_seed(records, variant, key).values() if v is not None]
    if not values:
        return None
    interval = Interval.of(values)
    return Measured(str(interval), interval.seeds, holds(interval.mean))


def base_at_least(least: float) -> Callable[[list[Record]], Measured | None]:
    """Return what measures that the base version reaches `least` mIoU over its own classes.

    That of the head that the service trains: another head has a base version of its own.
    """

    def measure(records: list[Record]) -> Measured | None:
        offered = (r for r in records if Variant.parse(r["variant"]).head == ALL_MLP)
        values = {r["seed"]: r["steps"][0]["miou_base"] for r in offered}
        if not values:
            return None
        interval = Interval.of(list(values.values()))
        return Measured(str(interval), interval.seeds, interval.mean >= least)

    return measure


def above(first: str, second: str) -> Callable[[list[Record]], Measured | None]:
    """Return what measures that one variant's mIoU is above another's, interval and all."""

    def measure(records: list[Record]) -> Measured | None:
        found = difference(records, first, second)
        return found and Measured(str(found), found.seeds, bool(found.above_zero))

    return measure


def beaten_by_none(variant: str) -> Callable[[list[Record]], Measured | None]:
    """Return what measures that a variant beats each other method or ties with it."""

    def measure(records: list[Record]) -> Measured | None:
        others = sorted(_methods(records) - {variant})
        found = {n: d for n in others if (d := difference(records, variant, n)) is not None}
        if not found:
            return None
        closest = min(found, key=lambda name: found[name].mean)
        missing = set(METHODS) - {variant, *found}
        text = f"{found[closest]} over `{closest}`, the closest of {len(found)}"
        if missing:
            text += f"; {len(missing)} not measured"
        holds = None if missing or any(_open(d) for d in found.values()) else True
        if any(d.below_zero for d in found.values()):
            holds = False
        return Measured(text, found[closest].seeds, holds)

    return measure


def _open(margin: Interval) -> bool:
    """Return whether a margin says neither who is ahead nor that they tie."""
    if margin.low is None or margin.high is None:
        return True
    return margin.low <= 0 <= margin.high and margin.high - margin.low > WIDEST_TIE


def times(
    variant: str, other: str, key: str, most: float
) -> Callable[[list[Record]], Measured | None]:
    """Return what measures that a figure is at most `most` times another variant's."""

    def measure(records: list[Record]) -> Measured | None:
        one, two = by_seed(records, variant, key), by_seed(records, other, key)
        shares = [a / b for seed, a in one.items() if a is not None and (b := two.get(seed))]
        if not shares:
            return None
        interval = Interval.of(shares)
        return Measured(str(interval), interval.seeds, interval.mean <= most)

    return measure


def lost_no_more_than_in_a_row(
    variant: str, at_once: str, in_a_row: str
) -> Callable[[list[Record]], Measured | None]:
    """Return what measures that classes which come at once cost the base classes no more mIoU than
    the same ones that come one by one; protocols by name."""

    def measure(records: list[Record]) -> Measured | None:
        one, other = (
            by_seed((r for r in records if r["protocol"] == name), variant, "steps")
            for name in (at_once, in_a_row)
        )
        more = []
        for seed in sorted(one.keys() & other.keys()):
            last = len(one[seed][-1]["classes"])
            if last < len(other[seed]):  # else not all of them have come one by one
                more.append(_base_lost(one[seed], -1) - _base_lost(other[seed], last))
        if not more:
            return None
        interval = Interval.of(more)
        return Measured(str(interval), interval.seeds, interval.mean <= 0)

    return measure


def _base_lost(steps: list[Record], number: int) -> float:
    lost: float = steps[0]["miou_base"] - steps[number]["miou_base"]
    return lost


def _methods(records: list[Record]) -> set[str]:
    """Return the methods as they are by default: no options, no memory, nothing untrained."""
    return {r["variant"] for r in records if r["variant"] == r["method"] != FROZEN_BASE}
