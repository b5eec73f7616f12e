"""Turns: one contestant asked by so many clients for some seconds, and what was seen of it."""

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, Server
from benchmarks.serving_client import LOST, Plan, Report
from benchmarks.serving_contestants import LIMIT
from benchmarks.serving_pipeline import Setup

WARM_UP_SECONDS = 1.0
BUSY = 16
"""Clients by whose throughput a setup is chosen."""
Record = dict[str, Any]


def start_asking(plan: Plan) -> "subprocess.Popen[bytes]":
    """Start a client of its own process; `report_of` waits for what it saw."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving_client"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if process.stdin is None:
        raise RuntimeError("the client has no standard input")
    process.stdin.write(json.dumps(asdict(plan)).encode())
    process.stdin.close()
    process.stdin = None
    return process


def report_of(process: "subprocess.Popen[bytes]") -> Report:
    """Wait until a client has every answer; return its report.

    Raises:
        RuntimeError: it failed.
    """
    written, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the client ended with {process.returncode}")
    return Report(**json.loads(written))


def summary(report: Report, seconds: float) -> Record:
    """Return what a report comes to: answers that came while it counted, times of what began then.

    A request that still waits when it is over has waited the longest: its time counts.

    Args:
        report: of a client.
        seconds: how long it counted.
    """
    everything = list(zip(report.began, report.took, report.status, strict=True))
    came = sum(status == 200 and 0 <= at + took <= seconds for at, took, status in everything)
    begun = [(took, status) for at, took, status in everything if 0 <= at <= seconds]
    good = sorted(took for took, status in begun if status == 200)
    other = [status for _, status in begun if status != 200]
    return {
        "answered": came,
        "per_second": round(came / seconds, 3),
        "p50_ms": quantile(good, 0.5),
        "p95_ms": quantile(good, 0.95),
        "p99_ms": quantile(good, 0.99),
        "refused": {str(status): other.count(status) for status in sorted({*other} - {LOST})},
        "lost": other.count(LOST),
        "client_cpu_ms": _each(report.cpu_seconds, report.status.count(200)),
    }


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return a quantile of sorted seconds, ms: the least value that so many do not exceed."""
    if not ordered:
        return None
    place = max(0, math.ceil(share * len(ordered)) - 1)
    return round(1000 * ordered[place], 2)


def server_turn(
    server: Server, requests: Sequence[Path], clients: int, seconds: float, warm_up: float
) -> Record:
    """Ask a server, which is frozen before and after; return what was seen."""
    plan = Plan(server.port, [str(path) for path in requests], seconds, clients, warm_up=warm_up)
    server.thaw()
    try:
        before = server.cpu_seconds()
        report = report_of(start_asking(plan))
        cpu = server.cpu_seconds() - before
        memory = server.pss_mib()
    finally:
        server.freeze()
    return summary(report, seconds) | {
        "cpu_ms": _each(cpu, report.status.count(200)),
        "pss_mib": round(memory, 1),
    }


def limit_turn(
    version: Path, pictures: Path, setup: Setup, clients: int, seconds: float, warm_up: float
) -> Record:
    """Run the limit in a process of its own; return what was seen."""
    command = [sys.executable, "-m", "benchmarks.serving_limit", str(version), str(pictures)]
    values = {"setup": setup, "clients": clients, "seconds": seconds, "warm-up": warm_up}
    command += [f"--{name}={value}" for name, value in values.items()]
    found = json.loads(subprocess.check_output(command, cwd=ROOT))
    memory = found.pop("pss_mib")
    report = Report(**found)
    seen = summary(report, seconds)
    seen.pop("client_cpu_ms")
    return seen | {
        "cpu_ms": _each(report.cpu_seconds, len(report.status)),
        "pss_mib": round(memory, 1),
        "setup": str(setup),
    }


class Setups:
    """The ways to compute that were tried, and which are best.

    Attributes:
        tried: by setup: throughput of many clients, p50 of a lone one.
    """

    def __init__(self, tried: Mapping[str, Record]) -> None:
        self.tried = dict(tried)

    @classmethod
    def measured(
        cls, version: Path, pictures: Path, seconds: float, tried: Sequence[Setup]
    ) -> "Setups":
        """Try ways to compute for some seconds each, with many clients and with one."""
        found = {}
        for setup in tried:
            lone = setup.batch == 1
            many = limit_turn(version, pictures, setup, BUSY, seconds, 0.2)
            one = limit_turn(version, pictures, setup, 1, seconds, 0.2) if lone else {}
            found[str(setup)] = {"per_second": many["per_second"], "p50_ms": one.get("p50_ms")}
        return cls(found)

    def limit(self, clients: int) -> Setup:
        """Return the one by which the limit answers so many clients.

        One that is tried with many would leave sessions idle where the first takes whoever waits.
        """
        lone = {name: one["p50_ms"] for name, one in self.tried.items() if one["p50_ms"]}
        if clients == 1 and lone:
            return Setup.read(min(lone, key=lambda name: float(lone[name])))
        filled = [name for name in self.tried if Setup.read(name).filled_by(clients)]
        best = max(filled or self.tried, key=lambda name: float(self.tried[name]["per_second"]))
        return Setup.read(best)

    def contestants(self) -> Setup:
        """Return the one that is best for one client and for many together, without batches.

        A session for each of them answers both, as with us.
        """
        lone = {name: one for name, one in self.tried.items() if one["p50_ms"]}
        return Setup.read(max(lone, key=lambda n: lone[n]["per_second"] / lone[n]["p50_ms"]))


def counted(turns: Sequence[Record]) -> list[Record]:
    """Leave out the limit's turns in batches that so few clients do not fill.

    Its first session took all of them and the others were idle: that is no limit. Older records
    have such.
    """
    return [
        turn
        for turn in turns
        if "setup" not in turn or Setup.read(turn["setup"]).filled_by(turn["clients"])
    ]


def ratios(
    turns: Sequence[Record], over: str, under: str, clients: int, value: str = "per_second"
) -> list[float]:
    """Return one contestant's value over another's, round by round."""
    found = []
    for one, other in pairs(turns, over, under, clients):
        if one[value] is not None and other[value]:
            found.append(one[value] / other[value])
    return found


def pairs(
    turns: Sequence[Record], first: str, second: str, clients: int
) -> list[tuple[Record, Record]]:
    """Return the turns of two contestants with so many clients, paired by round."""
    of = {(t["contestant"], t["round"]): t for t in turns if t["clients"] == clients}
    rounds = sorted(number for name, number in of if name == first)
    return [(of[first, n], of[second, n]) for n in rounds if (second, n) in of]


def median_of(turns: Sequence[Record], name: str, clients: int, value: str) -> float | None:
    """Return the median of a value over the rounds."""
    found = [
        turn[value]
        for turn in turns
        if (turn["contestant"], turn["clients"]) == (name, clients) and turn.get(value) is not None
    ]
    return statistics.median(found) if found else None


def names_of(turns: Sequence[Record]) -> list[str]:
    """Return who took part, the limit first."""
    found = dict.fromkeys(turn["contestant"] for turn in turns)
    return sorted(found, key=lambda name: name != LIMIT)


def _each(seconds: float, answers: int) -> float | None:
    return round(1000 * seconds / answers, 2) if answers else None
