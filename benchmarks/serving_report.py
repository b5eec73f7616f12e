"""The page that a record of serving becomes: bars first, then what they stand on."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.serving_bars import Bar, bars, bars_of
from benchmarks.serving_contestants import OURS, PROCESSES
from benchmarks.serving_pipeline import Setup
from benchmarks.serving_rounds import counted, median_of, names_of, ratios

Record = dict[str, Any]
COLUMNS = {
    "answers/s": "per_second",
    "p50 ms": "p50_ms",
    "p95 ms": "p95_ms",
    "p99 ms": "p99_ms",
    "CPU ms each": "cpu_ms",
    "PSS MiB": "pss_mib",
    "client's CPU ms each": "client_cpu_ms",
}

HEAD = """# Serving, measured

Every contestant answers the same pictures with the same exported version, started for real on
the same machine, in turns: one is asked while the others are frozen, and ratios are taken inside
a round, so that whatever disturbs the machine disturbs all alike. Figures are medians over the
rounds, ratios have their least and greatest beside them. The answer is always a mask as PNG.

- **The limit** is the service's own functions (decode, view, run, cut, PNG) in a loop in one
  process, without HTTP, in the best of the ways to compute that were tried.
- **LitServe, BentoML and plain FastAPI** call the same functions on the same graph, with as many
  sessions and threads as serve one client and many best together; plain FastAPI also with torch.
- **The limit** among the bars is what the limit itself comes to against the same server: where
  that is less than what is asked, no server of these functions can reach the bar.
- **CPU** is that of all of a contestant's processes for each answer, **PSS** their memory after a
  turn, what they share counted once. The client is a process of its own and not in either.
"""


def page(written: Record) -> str:
    """Return the page of a record."""
    lines = [HEAD, *_machine(written["machine"], written["command"])]
    for name, measured in written["sets"].items():
        clients = sorted({turn["clients"] for turn in measured["turns"]})
        lines += [
            f"## {name}",
            "",
            f"![By clients: answers a second, p50, p99]({plot_name(name)})",
            "",
        ]
        lines += _bars(measured)
        lines += _missing(measured)
        for number in clients:
            lines += [f"### {number} client{'s' if number > 1 else ''}", ""]
            lines += _turns(counted(measured["turns"]), number)
        lines += _operations(measured.get("operations") or {})
        lines += _setups(measured)
    return "\n".join(lines).rstrip() + "\n"


def plot_name(name: str) -> str:
    """Return the file name of a set's plot."""
    words = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in name)
    return f"serving-{'-'.join(words.split())}.svg"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table's lines, an empty one after it."""
    ruled = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(row)} |" for row in (head, ruled, *rows)] + [""]


def _machine(machine: Record, command: str) -> list[str]:
    facts = ", ".join(f"{name} {value}" for name, value in machine["packages"].items())
    return [
        f"`{command}` at {machine['commit']}; {machine['hardware']}, {machine['processors']} "
        f"processors, load {machine['load_average']} before. {facts}.",
        "",
    ]


def _bars(measured: Record) -> list[str]:
    judged = bars(measured)
    lines = [_count(judged), "", *_judged(judged)]
    for name in names_of(measured["turns"]):
        if name.startswith(OURS) and name.endswith(PROCESSES):
            judged = bars_of(measured, name)
            lines += [f"The same of {name}, together: {_count(judged)}", "", *_judged(judged)]
    return lines


def _count(judged: Sequence[Bar]) -> str:
    reached = sum(bar.reached is True for bar in judged)
    missing = sum(bar.reached is None for bar in judged)
    said = f"{reached} of {len(judged)} bars are reached, {missing} not measured."
    beyond = [bar for bar in judged if bar.reached is False and bar.beyond]
    if beyond:
        said += f" Of the others {len(beyond)} ask for more than the limit itself comes to."
    return said


def _judged(judged: Sequence[Bar]) -> list[str]:
    rows = [(bar.what, bar.wanted, bar.found, _ratio_of(bar.limit), bar.verdict) for bar in judged]
    return table(("bar", "asked", "found", "the limit", "verdict"), rows)


def _ratio_of(limit: float | None) -> str:
    return "" if limit is None else f"{limit:.2f}"


def _missing(measured: Record) -> Iterator[str]:
    for number, setup in measured["limit_setups"].items():
        if not Setup.read(setup).filled_by(int(number)):
            yield (
                f"**The limit with {number} clients** was not measured: it ran as `{setup}`, whose "
                "batches so few do not fill."
            )
            yield ""
    for name, why in measured["not_measured"].items():
        yield f"**{name}** was not measured: {why}."
        yield ""


def _turns(turns: Sequence[Record], clients: int) -> list[str]:
    rows = []
    for name in names_of(turns):
        values = [median_of(turns, name, clients, value) for value in COLUMNS.values()]
        if any(value is not None for value in values):
            rows.append((name, *map(_number, values), *_ratio(turns, name, clients)))
    return table(("", *COLUMNS, f"{OURS} / it"), rows)


def _ratio(turns: Sequence[Record], name: str, clients: int) -> list[str]:
    found = [] if name == OURS else ratios(turns, OURS, name, clients)
    if not found:
        return [""]
    return [f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"]


def _operations(found: Record) -> list[str]:
    if not found:
        return []
    rows = [
        (f"{part}: {name.replace('_', ' ')}", _words(value))
        for part, values in found.items()
        for name, value in values.items()
    ]
    return ["### Starting, promoting, overload", "", *table(("", "found"), rows)]


def _setups(measured: Record) -> list[str]:
    rows = [
        (f"`{name}`", _number(one["per_second"]), _number(one["p50_ms"]))
        for name, one in measured["setups"].items()
    ]
    same = ", ".join(f"{name} {share:.4f}" for name, share in measured["agreement"].items())
    limit = {c: s for c, s in measured["limit_setups"].items() if Setup.read(s).filled_by(int(c))}
    said = (
        f"Ways to compute, as sessions x threads of each x pictures in a run: the limit takes "
        f"{', '.join(f'`{s}` for {c}' for c, s in limit.items())} clients, the "
        f"other contestants `{measured['contestants_setup']}`. Pixels that agree with the limit's "
        f"mask of the first picture: {same}."
    )
    return [said, "", *table(("setup", "answers/s of many", "p50 ms of one"), rows)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} x {name}" for name, count in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
