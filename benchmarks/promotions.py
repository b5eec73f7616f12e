"""How long until the last of several API processes answers with the version that was promoted?

    python -m benchmarks.promotions

Starts eight API processes on one Postgres and Redis, each asked for masks all the time by a client
of its own, and promotes two versions in turns through the first. Each promotion's time is that of
the process that answers with the new version last, from the moment that it was asked for. Then asks
nobody for a while, and says what the database bears for a request beside. Writes its section of
`scale.json` to `--results`.
"""

import json
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sqlalchemy import Engine, text

from app.db import make_engine
from benchmarks.load_clients import Client, Tally
from benchmarks.load_services import replicated
from benchmarks.scale_record import write_section
from tests.fixtures.drawings import draw, encoded

PATIENCE_SECONDS = 60.0
"""How long a process may go on answering with the version before."""
PICTURE = {"Content-Type": "image/jpeg", "Accept": "application/json"}


class Watcher:
    """A client of one process, and which version answered it last.

    Attributes:
        seen: when each version answered first after the other had, newest last.
        answered: how many requests were.
    """

    def __init__(self, url: str, key: str, picture: bytes, pause: float) -> None:
        self.seen: list[tuple[float, int]] = []
        self.answered = 0
        self.tally = Tally()
        self._client = Client(url, key, self.tally)
        self._picture = picture
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def answers_with(self, version: int) -> bool:
        """Whether this version answered last."""
        return bool(self.seen) and self.seen[-1][1] == version

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            body = self._client.ask("segment", "POST", "/segment", self._picture, PICTURE)
            if body is None:
                continue
            self.answered += 1
            version = int(json.loads(body)["version"])
            if not self.answers_with(version):
                self.seen.append((time.perf_counter(), version))


def promote(client: Client, version: int, watchers: Sequence[Watcher]) -> float:
    """Promote, and return how many seconds it took until every watcher saw it.

    Raises:
        RuntimeError: it was refused, or one did not see it in time.
    """
    began = time.perf_counter()
    path = f"/admin/models/default/versions/{version}:promote"
    if client.ask("promote", "POST", path) is None:
        raise RuntimeError(f"not promoted: {client.tally.errors}")
    _wait(watchers, version)
    return max(one.seen[-1][0] for one in watchers) - began


def _wait(watchers: Sequence[Watcher], version: int) -> None:
    until = time.perf_counter() + PATIENCE_SECONDS
    while not all(one.answers_with(version) for one in watchers):
        if time.perf_counter() > until:
            raise RuntimeError(f"version {version} is not seen: {[w.tally for w in watchers]}")
        time.sleep(0.005)


class Borne:
    """What the database has done since it was asked last."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._at, self._before = time.perf_counter(), self._read()

    def a_second(self) -> dict[str, float]:
        """Return transactions and bytes of its log a second."""
        at, now = time.perf_counter(), self._read()
        seconds = at - self._at
        rates = {name: (now[name] - self._before[name]) / seconds for name in now}
        self._at, self._before = at, now
        return rates

    def _read(self) -> dict[str, int]:
        asked = text(
            "SELECT xact_commit AS transactions,"
            " pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal_bytes"
            " FROM pg_stat_database WHERE datname = current_database()"
        )
        with self._engine.connect() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            return dict(connection.execute(asked).mappings().one())


def measure(replicas: int, moves: int, pause: float, seconds: float) -> dict[str, Any]:
    """Start processes, promote so often, and return what was seen."""
    picture = encoded(draw(np.random.default_rng(0), ["red", "green"], 64)[0])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sats-promotions-")))
        service = stack.enter_context(replicated(folder, replicas))
        engine = make_engine(service.database_url)
        stack.callback(engine.dispose)
        borne = Borne(engine)
        time.sleep(seconds)
        idle = borne.a_second()
        watchers = [
            stack.enter_context(Watcher(url, service.keys.admin, picture, pause))
            for url in service.urls
        ]
        client = Client(service.urls[0], service.keys.admin, Tally())
        stack.callback(client.close)
        promote(client, 1, watchers)
        before = sum(one.answered for one in watchers)
        borne.a_second()
        time.sleep(seconds)
        asked = borne.a_second()
        requests = (sum(one.answered for one in watchers) - before) / seconds
        took = [promote(client, 2 - number % 2, watchers) for number in range(moves)]
    errors = [error for one in watchers for error in one.tally.errors]
    p50, p99 = np.percentile(took, (50, 99))
    return {
        "replicas": replicas,
        "promotions": moves,
        "seconds_until_the_last_has_it": {
            "p50": round(float(p50), 3),
            "p99": round(float(p99), 3),
            "max": round(max(took), 3),
        },
        "asked_every_ms": round(1000 * pause),
        "requests_that_failed": errors,
        "requests_a_second": round(requests, 1),
        "database_a_second": {
            "no requests": {name: round(rate, 1) for name, rate in idle.items()},
            "requests": {name: round(rate, 1) for name, rate in asked.items()},
        },
    }


def main(
    replicas: Annotated[int, typer.Option(help="API processes.")] = 8,
    moves: Annotated[int, typer.Option(help="Promotions.")] = 200,
    pause: Annotated[float, typer.Option(help="Seconds between a client's requests.")] = 0.05,
    seconds: Annotated[float, typer.Option(help="How long the database is watched.")] = 20.0,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Promote versions before many API processes; write when the last one had it."""
    found = measure(replicas, moves, pause, seconds)
    command = f"python -m benchmarks.promotions --replicas {replicas} --moves {moves}"
    write_section(results, "promotion", command, found)
    typer.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
