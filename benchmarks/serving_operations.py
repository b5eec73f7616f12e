"""What a service does beside answering: start, take memory, change versions, be asked too much."""

import http.client
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import Server
from benchmarks.serving_client import Plan, Report
from benchmarks.serving_contestants import Contestant
from benchmarks.serving_rounds import quantile, report_of, start_asking, summary

STARTS = 3
SWITCHES = 4
SWITCH_SECONDS = 4.0
"""Between two promotions; a request that is under way in the first half of it counts as during."""
VERSION_HEADER = "X-Sats-Version"
BUSY = 503
OVER = 2.0
FILLED = 1.25
"""How often what the service lets wait has come before overload counts."""
Record = dict[str, Any]


def starts(contestant: Contestant, folder: Path) -> Record:
    """Start an API again and again; return seconds until it was ready, and its memory then."""
    seconds, memory = [], []
    for number in range(STARTS):
        with contestant.started(folder / f"start{number}.log") as server:
            seconds.append(round(server.ready_seconds, 2))
            memory.append(server.pss_mib())
    return {
        "ready_seconds": statistics.median(seconds),
        "each": seconds,
        "pss_mib": round(statistics.median(memory), 1),
    }


def promotion(server: Server, requests: Sequence[Path], clients: int, before: float) -> Record:
    """Move `live` between two versions under load.

    Args:
        server: ours, with two versions, the second of them live.
        requests: files of whole requests.
        clients: of the closed loop.
        before: seconds without a move.
    """
    seconds = before + SWITCHES * SWITCH_SECONDS
    files = [str(path) for path in requests]
    asking = start_asking(
        Plan(server.port, files, seconds, clients, warm_up=1.0, tag=VERSION_HEADER)
    )
    time.sleep(1.0 + before + 0.5)  # the client's own start takes a part of a second
    moved = []
    for number in range(SWITCHES):
        moved.append(time.monotonic())
        _promote(server.port, 1 + number % 2)
        time.sleep(max(0.0, moved[-1] + SWITCH_SECONDS - time.monotonic()))
    return judged_moves(report_of(asking), moved, clients)


def judged_moves(report: Report, moved: Sequence[float], clients: int) -> Record:
    """Return what a client saw of versions that were promoted.

    Args:
        report: of the client.
        moved: when each was promoted, on the machine's monotonic clock.
        clients: how many asked.
    """
    starts = [at - report.zero for at in moved]
    calm, during, failed = [], [], 0
    for began, took, status in zip(report.began, report.took, report.status, strict=True):
        failed += status != 200
        end = began + took
        if status == 200 and end >= 0:
            if end < starts[0]:
                calm.append(took)
            elif any(began < at + SWITCH_SECONDS / 2 and end > at for at in starts):
                during.append(took)
    calm_ms, during_ms = quantile(sorted(calm), 0.99), quantile(sorted(during), 0.99)
    return {
        "clients": clients,
        "moves": len(moved),
        "failed": failed,
        "answered_before": len(calm),
        "answered_during": len(during),
        "p99_before_ms": calm_ms,
        "p99_during_ms": during_ms,
        "versions_seen": sorted(set(report.tag) - {""}),
    }


def overload(
    server: Server, requests: Sequence[Path], limit: float, queue: int, seconds: float
) -> Record:
    """Ask for twice what can be done at all, at a constant rate, once as many wait as may.

    Args:
        server: ours.
        requests: files of whole requests.
        limit: requests a second that can be done at all.
        queue: how many the service lets wait.
        seconds: how long it counts.
    """
    rate = OVER * limit
    filling = FILLED * queue / (rate - limit)
    files = [str(path) for path in requests]
    plan = Plan(server.port, files, seconds, rate=rate, warm_up=filling)
    report = report_of(start_asking(plan))
    refused = sorted(
        took
        for began, took, status in zip(report.began, report.took, report.status, strict=True)
        if status == BUSY and 0 <= began <= seconds
    )
    seen = summary(report, seconds)
    return seen | {
        "rate": round(rate, 2),
        "goodput_of_limit": round(seen["per_second"] / limit, 3),
        "other_than_503": seen["lost"] + sum(seen["refused"].values()) - len(refused),
        "refused_p50_ms": quantile(refused, 0.5),
        "refused_p99_ms": quantile(refused, 0.99),
    }


def _promote(port: int, version: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", f"/admin/models/default/versions/{version}:promote")
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"promoting was answered with {answer.status}: {said[:300]!r}")
    finally:
        connection.close()
