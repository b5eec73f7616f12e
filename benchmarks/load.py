"""Does the service stand fifty clients: no errors, flat memory, and how fast?

    python -m benchmarks.load --seconds 600

Fifty clients ask without a pause for ten minutes: 95 % `/segment`, the rest tasks posted, read and
cancelled. Meanwhile `live` moves twice a second, and now and then a worker learns a small step. The
model is tiny: what is measured is the service, not a network. First the embedded service, then two
API processes and a worker on Postgres and Redis. Writes `load.json` and `load.md` to `--results`.
"""

import json
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from benchmarks.load_clients import Client, Load, Tally, learn, mix, move, segment
from benchmarks.load_report import page
from benchmarks.load_services import SERVICES, Running
from benchmarks.machine import commit, hardware
from tests.fixtures.drawings import voc_zip

SAMPLE_SECONDS = 1.0
MOVE_SECONDS = 0.5
Record = dict[str, Any]


class MemorySamples:
    """Resident memory of some processes, looked at once a second on a thread."""

    def __init__(self, processes: Sequence[psutil.Process], over: threading.Event) -> None:
        self._processes = processes
        self._over = over
        self._seconds: list[float] = []
        self._mib: list[list[float]] = []

    def take(self) -> None:
        """Look until it is over."""
        began = time.monotonic()
        while not self._over.wait(SAMPLE_SECONDS):
            self._mib.append([one.memory_info().rss / 2**20 for one in self._processes])
            self._seconds.append(time.monotonic() - began)

    def summary(self) -> list[Record]:
        """Return start, middle, end and the second half's slope of each process."""
        seconds = np.array(self._seconds)
        return [memory_summary(seconds, np.array(mib)) for mib in zip(*self._mib, strict=True)]


def memory_summary(seconds: Any, mib: Any) -> Record:
    """Return start, middle, end and the second half's slope of one process.

    Args:
        seconds: when it was looked at.
        mib: what it took then.
    """
    half = len(mib) // 2
    slope = float(np.polyfit(seconds[half:], mib[half:], 1)[0]) if len(mib) - half > 2 else 0.0
    return {
        "mib_first": round(float(mib[0]), 1),
        "mib_half": round(float(mib[half]), 1),
        "mib_last": round(float(mib[-1]), 1),
        "mib_most": round(float(mib.max()), 1),
        "mib_per_hour_second_half": round(3600 * slope, 1),
    }


def put_under_load(
    running: Running, data_set: bytes, *, seconds: float, clients: int, pause: float, steps: float
) -> Record:
    """Ask a service for some time; return what was seen.

    Args:
        running: the service.
        data_set: a zip that can be posted as a task.
        seconds: how long.
        clients: how many ask at once.
        pause: seconds between a client's calls.
        steps: seconds between two small steps.
    """
    over = threading.Event()
    load = Load.of(data_set, over, pause)
    samples = MemorySamples(running.apis, over)
    asking = [
        Client(running.urls[n % len(running.urls)], _key(running, n), Tally())
        for n in range(clients + 2)
    ]
    busy_before = os.getloadavg()[0]
    cpu, began = time.process_time(), time.monotonic()
    with ThreadPoolExecutor(clients + 3) as pool:
        pool.submit(samples.take)
        moved = pool.submit(move, load, asking[-2], MOVE_SECONDS)
        learned = pool.submit(learn, load, asking[-1], steps)
        working = [
            pool.submit(segment if n == 0 else mix, load, client, n)
            for n, client in enumerate(asking[:clients])
        ]
        time.sleep(seconds)
        over.set()
        took = time.monotonic() - began
        for one in (moved, *working):
            one.result()
    tally = Tally()
    for client in asking:
        tally.add(client.tally)
    tasks = _states(asking[-1], learned.result())
    for client in asking:
        client.close()
    answered = sum(len(times) for times in tally.seconds.values())
    return {
        "seconds": round(took, 1),
        "clients": clients,
        "client_cpu_seconds": round(time.process_time() - cpu, 1),
        "load_average_before": round(busy_before, 2),
        "answered": answered,
        "answered_per_second": round(answered / took, 1),
        "calls": {kind: _times(times, took) for kind, times in sorted(tally.seconds.items())},
        "refused": {str(status): count for status, count in sorted(tally.refused.items())},
        "errors": tally.errors,
        "small_steps": tasks,
        "api_processes": samples.summary(),
    }


def _key(running: Running, number: int) -> str:
    return running.keys.limited if number == 0 else running.keys.admin


def _times(seconds: Sequence[float], took: float) -> Record:
    half, most = np.percentile(seconds, (50, 99))
    return {
        "count": len(seconds),
        "per_second": round(len(seconds) / took, 2),
        "p50_ms": round(1000 * float(half), 1),
        "p99_ms": round(1000 * float(most), 1),
    }


def _states(client: Client, tasks: Sequence[str]) -> dict[str, int]:
    """Return how many tasks are in each state, or succeeded with each outcome."""
    found: dict[str, int] = {}
    for task in tasks:
        answer = client.ask("read a task", "GET", f"/tasks/{task}")
        told = json.loads(answer) if answer is not None else {"state": "unknown"}
        where = told.get("outcome") or told["state"]
        found[where] = found.get(where, 0) + 1
    return found


def main(
    seconds: Annotated[float, typer.Option(help="How long each service is asked.")] = 600.0,
    clients: Annotated[int, typer.Option(help="How many ask at once.")] = 50,
    pause: Annotated[float, typer.Option(help="Seconds between a client's calls.")] = 0.0,
    steps: Annotated[float, typer.Option(help="Seconds between two small steps.")] = 60.0,
    service: Annotated[list[str] | None, typer.Option(help="embedded, replicated; both.")] = None,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Put each service under load and write what was seen."""
    path = results / "load.json"
    written: Record = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    written["command"] = f"python -m benchmarks.load --seconds {seconds:g}"
    for name in service or SERVICES:
        with tempfile.TemporaryDirectory(prefix="sats-load-") as made:
            folder = Path(made)
            data_set = voc_zip(folder / "d.zip", ["cat", "dog"], pictures=8, size=32).read_bytes()
            with SERVICES[name](folder) as running:
                seen = put_under_load(
                    running, data_set, seconds=seconds, clients=clients, pause=pause, steps=steps
                )
        machine = {"commit": commit(), "hardware": hardware("cpu"), "processors": os.cpu_count()}
        written["runs"][name] = machine | seen
        path.write_text(json.dumps(written, indent=1) + "\n")
        path.with_suffix(".md").write_text(page(written))
        typer.echo(f"{name}: {seen['answered_per_second']}/s, {len(seen['errors'])} errors")


if __name__ == "__main__":
    typer.run(main)
