"""What serving must hold, and whether it does: nothing that was not measured counts as reached."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.serving_contestants import BENTOML, LIMIT, LITSERVE, OURS, PLAIN, TORCH
from benchmarks.serving_rounds import counted, pairs, ratios

OF_LIMIT, OF_OTHERS, OF_BATCHED, OF_TORCH = 0.9, 1.0, 1.3, 2.0
CLIENTS, BUSY = (1, 4, 16, 64), (16, 64)
LONE_MS, TAIL = 3.0, 1.15
READY_SECONDS, MEMORY_MIB = 3.0, 400.0
SWITCH, GOODPUT, REFUSED_MS = 2.0, 0.8, 50.0
NOT_MEASURED = "not measured"
Record = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        what: is asked.
        wanted: in words.
        found: what was measured, in words.
        reached: None where it was not measured.
        least: asked of a ratio.
        limit: what the limit itself comes to where others are compared with, median of the rounds;
            None elsewhere. What serves cannot be faster than what it serves with.
    """

    what: str
    wanted: str
    found: str = NOT_MEASURED
    reached: bool | None = None
    least: float = 0.0
    limit: float | None = None

    @property
    def beyond(self) -> bool:
        """Whether it asks for more than the limit itself comes to."""
        return self.limit is not None and self.limit < self.least

    @property
    def verdict(self) -> str:
        """As the table says it."""
        if self.reached is None:
            return NOT_MEASURED
        if self.reached:
            return "reached"
        return "**not reached**, nor by the limit" if self.beyond else "**not reached**"


def bars(measured: Record) -> list[Bar]:
    """Return every bar of what was measured with one backbone at one size.

    Args:
        measured: its turns and what the service does beside.
    """
    operations = _operations(measured.get("operations") or {}, measured["turns"])
    return [*bars_of(measured, OURS), *operations]


def bars_of(measured: Record, ours: str) -> list[Bar]:
    """Return those that a contestant of ours must hold for itself: throughput and latency."""
    turns = counted(measured["turns"])
    return [*_throughput(turns, ours), *_latency(turns, ours)]


def at_least(what: str, found: Sequence[float], least: float) -> Bar:
    """Judge the median of ratios by their least value."""
    bar = Bar(what, f">= {least:g}", *_median(found, lambda median: median >= least))
    return replace(bar, least=least)


def at_most(what: str, found: float | None, most: float, unit: str) -> Bar:
    """Judge a value by its most."""
    wanted = f"<= {most:.4g} {unit}".strip()
    return Bar(what, wanted) if found is None else Bar(what, wanted, f"{found:g}", found <= most)


def _throughput(turns: Sequence[Record], ours: str) -> Iterator[Bar]:
    for number in BUSY:
        found = ratios(turns, ours, LIMIT, number)
        yield at_least(f"throughput of {number} clients / the limit", found, OF_LIMIT)
    for other in (LITSERVE, BENTOML, PLAIN):
        for number in CLIENTS:
            yield _against(turns, ours, other, number, OF_OTHERS)
    for other in (LITSERVE, BENTOML):
        yield _against(turns, ours, other, BUSY[0], OF_BATCHED)
    for number in CLIENTS:
        yield _against(turns, ours, TORCH, number, OF_TORCH)


def _against(turns: Sequence[Record], ours: str, other: str, clients: int, least: float) -> Bar:
    """Judge our throughput by another's, and say what the limit's would be."""
    bar = at_least(f"throughput of {clients} / {other}", ratios(turns, ours, other, clients), least)
    limit = ratios(turns, LIMIT, other, clients)
    return replace(bar, limit=statistics.median(limit) if limit else None)


def _latency(turns: Sequence[Record], ours: str) -> Iterator[Bar]:
    more = [
        one["p50_ms"] - limit["p50_ms"]
        for one, limit in pairs(turns, ours, LIMIT, 1)
        if one["p50_ms"] is not None and limit["p50_ms"] is not None
    ]
    wanted = f"<= {LONE_MS:g} ms"
    found = _median(more, lambda median: median <= LONE_MS)
    yield Bar("p50 of a lone request less the limit's, ms", wanted, *found)
    for number in CLIENTS:
        over = [
            one["p99_ms"] - TAIL * limit["p99_ms"]
            for one, limit in pairs(turns, ours, LIMIT, number)
            if one["p99_ms"] is not None and limit["p99_ms"] is not None
        ]
        what = f"p99 of {number} less {TAIL:g} x the limit's, ms"
        yield Bar(what, wanted, *_median(over, lambda median: median <= LONE_MS))


def _operations(found: Mapping[str, Any], turns: Sequence[Record]) -> Iterator[Bar]:
    start, moves, over = (found.get(n) or {} for n in ("starts", "promotion", "overload"))
    yield at_most("start to ready, one version", start.get("ready_seconds"), READY_SECONDS, "s")
    memory = [turn["pss_mib"] for turn in turns if turn["contestant"] == OURS]
    yield at_most("most memory of the API after load", max(memory, default=None), MEMORY_MIB, "MiB")
    if len(moves.get("versions_seen", ())) < 2:
        moves = {}  # nothing was moved under anybody's feet
    yield at_most("promotion under load: failed requests", moves.get("failed"), 0, "")
    before, during = moves.get("p99_before_ms"), moves.get("p99_during_ms")
    ratio = round(during / before, 2) if before and during else None
    yield at_most("promotion under load: p99 during / before", ratio, SWITCH, "")
    goodput = [over["goodput_of_limit"]] if over else []
    yield at_least("goodput at twice the limit / the limit", goodput, GOODPUT)
    yield at_most("of the rest, answered otherwise than 503", over.get("other_than_503"), 0, "")
    yield at_most("p99 of a 503", over.get("refused_p99_ms"), REFUSED_MS, "ms")


def _median(found: Sequence[float], holds: Any) -> tuple[str, bool] | tuple[()]:
    """Return the median with the spread in words, and whether it holds; nothing where none is."""
    if not found:
        return ()
    median = statistics.median(found)
    spread = f" ({min(found):.2f} to {max(found):.2f})" if len(found) > 1 else ""
    return f"{median:.2f}{spread}", bool(holds(median))
