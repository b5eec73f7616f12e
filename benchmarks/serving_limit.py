"""The limit: the same functions in a loop in one process, without HTTP or anything else around.

    python -m benchmarks.serving_limit VERSION PICTURES --setup 2x1x1 --clients 16

Clients are places in a queue: each stands in it again as soon as it was answered, so that waiting
counts here as it does behind a server. Prints a report like that of `benchmarks.serving_client`.
"""

import json
import os
import queue
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.processes import pss_mib
from benchmarks.serving_client import Report
from benchmarks.serving_pipeline import Exported, Setup, answer, load_graph

DONE = 200


def setups(processors: int) -> list[Setup]:
    """Return the ways to compute that are tried on a machine with so many processors."""
    pairs = {
        (1, 1),
        (1, processors),
        (processors, 1),
        (processors, processors),
        (processors + 1, 1),
        (max(1, processors // 2), 2),
    }
    return [Setup(*pair, batch) for pair in sorted(pairs) for batch in (1, 4)]


class Loop:
    """Threads that answer what stands in a queue.

    Args:
        version: directory of the exported version.
        pictures: encoded.
        setup: how it computes.
        clients: how many stand in the queue or are being answered.
    """

    def __init__(self, version: Path, pictures: list[bytes], setup: Setup, clients: int) -> None:
        self._pictures, self._setup, self._clients = pictures, setup, clients
        self._graphs = [load_graph(version, setup.threads) for _ in range(setup.sessions)]
        self._waiting: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.report = Report()

    def run(self, seconds: float, warm_up: float) -> Report:
        """Answer until the time is over."""
        cpu, now = time.process_time(), time.monotonic()
        self.report.zero = now + warm_up
        for number in range(self._clients):
            self._waiting.put((number, now))
        threads = [
            threading.Thread(target=self._work, args=(graph, self.report.zero + seconds))
            for graph in self._graphs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.report.cpu_seconds = time.process_time() - cpu
        return self.report

    def _work(self, graph: Exported, end: float) -> None:
        """Answer until nobody waits; after the end nobody asks again."""
        while batch := self._take(end):
            answer(graph, [self._pictures[n % len(self._pictures)] for n, _ in batch])
            self._answered(batch, end)

    def _take(self, end: float) -> list[tuple[int, float]]:
        batch: list[tuple[int, float]] = []
        try:
            left = end - time.monotonic()
            batch.append(self._waiting.get(left > 0, max(0.0, left)))
            while len(batch) < self._setup.batch:
                batch.append(self._waiting.get_nowait())
        except queue.Empty:
            pass  # a batch is what waits
        return batch

    def _answered(self, batch: list[tuple[int, float]], end: float) -> None:
        now = time.monotonic()
        with self._lock:
            for number, began in batch:
                self.report.began.append(began - self.report.zero)
                self.report.took.append(now - began)
                self.report.status.append(DONE)
                self.report.tag.append("")
                if now < end:
                    self._waiting.put((number + self._clients, now))


def main(
    version: Annotated[Path, typer.Argument(help="Directory of the exported version.")],
    pictures: Annotated[Path, typer.Argument(help="Folder of pictures.")],
    setup: Annotated[str, typer.Option(help="Sessions x threads x batch.")] = "1x1x1",
    clients: Annotated[int, typer.Option(help="How many wait or are answered.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long what is answered counts.")] = 5.0,
    warm_up: Annotated[float, typer.Option(help="Seconds before.")] = 0.5,
) -> None:
    """Answer for some time and print what was seen."""
    encoded = [path.read_bytes() for path in sorted(pictures.iterdir())]
    loop = Loop(version, encoded, Setup.read(setup), clients)
    report = asdict(loop.run(seconds, warm_up))
    json.dump(report | {"pss_mib": pss_mib(os.getpid())}, sys.stdout)


if __name__ == "__main__":
    typer.run(main)
