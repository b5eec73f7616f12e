"""The page of `docs/results` on the load: every figure of it is one of `load.json`."""

from collections.abc import Callable, Mapping
from typing import Any

FLAT_SHARE = 0.02
"""Memory is shown to be flat where the second half adds at most this share of what there was."""

SERVICES = {
    "embedded": "embedded (`sats serve`)",
    "replicated": "Postgres, Redis, two API processes, a worker",
}

Record = dict[str, Any]


def page(written: Record) -> str:
    """Return what `load.md` says of the record in `load.json`."""
    runs = {name: run for name, run in written["runs"].items() if name in SERVICES}
    return "\n".join(
        (
            "# Load",
            "",
            f"    nice -n 5 {written['command']}",
            "",
            "Clients that ask without a pause, 95 % `/segment` on pictures of 128 to 320 pixels, "
            "the rest tasks listed, read, posted and cancelled; meanwhile `live` moves to and fro, "
            "a worker learns a small step now and then, and no graph is kept beside the live ones, "
            "so that every move loads one and lets one go. The model is tiny: a graph that tells "
            "colours apart. Both services shared the machine's processors with their clients.",
            "",
            _row("", {name: SERVICES[name] for name in runs}),
            _row("---", dict.fromkeys(runs, "---")),
            *(
                _row(said, {name: told(run) for name, run in runs.items()})
                for said, told in ROWS.items()
            ),
            "",
            *(sentence for name, run in runs.items() for sentence in _memory_said(name, run)),
            "",
        )
    )


def _row(said: str, cells: Mapping[str, str]) -> str:
    return f"| {' | '.join((said, *cells.values()))} |"


def _call(name: str) -> Callable[[Record], str]:
    def told(run: Record) -> str:
        call = run["calls"].get(name)
        return f"{call['p50_ms']:.0f} ms, {call['p99_ms']:.0f} ms" if call else "not asked"

    return told


def _each(key: str) -> Callable[[Record], str]:
    return lambda run: " and ".join(f"{process[key]:.1f}" for process in run["api_processes"])


ROWS: dict[str, Callable[[Record], str]] = {
    "commit": lambda run: f"`{run['commit']}`",
    "processors, and processes that waited for one before": lambda run: (
        f"{run['processors']}, {run['load_average_before']:.1f}"
    ),
    "clients, seconds": lambda run: f"{run['clients']}, {run['seconds']:.0f}",
    "answered, a second": lambda run: f"{run['answered']:,}, {run['answered_per_second']:.1f}",
    "errors": lambda run: str(len(run["errors"])),
    "told to come back": lambda run: (
        ", ".join(f"{count} by {status}" for status, count in run["refused"].items()) or "none"
    ),
    "`/segment`, p50 and p99": _call("segment"),
    "posting a task, p50 and p99": _call("post a task"),
    "reading a task, p50 and p99": _call("read a task"),
    "memory of each API process at first, MiB": _each("mib_first"),
    "at half time, MiB": _each("mib_half"),
    "at the end, MiB": _each("mib_last"),
    "its slope over the second half, MiB an hour": _each("mib_per_hour_second_half"),
    "shown to be flat": lambda run: "yes" if is_flat(run) else "**no**",
    "processor time of all clients": lambda run: f"{run['client_cpu_seconds']:.0f} s",
}


def is_flat(run: Record) -> bool:
    """Return whether a run shows that the API's memory grows no more."""
    return all(
        process["mib_last"] - process["mib_half"] <= FLAT_SHARE * process["mib_half"]
        for process in run["api_processes"]
    )


def _memory_said(name: str, run: Record) -> list[str]:
    if is_flat(run):
        return []
    half, last = (_each(key)(run) for key in ("mib_half", "mib_last"))
    return [
        f"Of the API's memory this run does not show that it is flat ({name}): it grew from {half} "
        f"to {last} MiB in the second half of {run['seconds'] / 60:.0f} minutes. It may be what "
        "fills once, as the database's page caches do, or what never ends: a longer run tells.",
        "",
    ]
