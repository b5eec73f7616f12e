"""How fast blobs go into an object store and come back, beside the library that does it alone.

`python -m benchmarks.storage` starts an S3 server of its own on this machine; with `--url`, and
what else SATS_STORE_... says, it takes that bucket. Both put the same files and fetch them to the
same disk, each blob by one and then by the other, in turns who is first. The service names a blob
by its bytes, puts it where there is none, and checks every byte that it fetches; the library, with
its own defaults, does neither. It writes its section of `scale.json` to `--results`: bytes a second
of both, round by round, and the median of the rounds' quotients. The bar is 0.9.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import obstore

from app.settings import Settings
from app.storage import BlobStore, open_store
from app.storage.bucket_client import Client, client_of
from benchmarks.scale_record import write_section

BAR = 0.9
MIB = 1024 * 1024
MOST_A_ROUND = 16
"""Blobs of a round; fewer where these have more bytes together than as many of a MiB."""
WAYS = ("put", "get")
MUCH = 64 * MIB
"""So many bytes are on the disk before others come."""
CONTESTANTS = ("service", "library")
Call = Callable[[], object]


def main(arguments: list[str]) -> int:
    """Measure and print; exit status 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=float, nargs="+", default=[1, 16, 256], help="of a blob")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--url", help="s3://bucket/prefix; default: a server of its own")
    asked = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sats-storage-")))
        given = {"store_url": asked.url} if asked.url else _own_server(stack, folder)
        found = [_measured(folder, given, round(mib * MIB), asked.rounds) for mib in asked.mib]
    held = all(one[way]["quotient"] >= BAR for one in found for way in WAYS)
    report = {"bar": BAR, "held": held, "sizes": found}
    sizes = " ".join(f"{mib:g}" for mib in asked.mib)
    command = f"python -m benchmarks.storage --mib {sizes} --rounds {asked.rounds}"
    write_section(asked.results, "storage", command, report)
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0 if held else 1


def _own_server(stack: ExitStack, folder: Path) -> dict[str, Any]:
    from tests.fixtures.s3 import run_s3

    (folder / "s3").mkdir()
    return stack.enter_context(run_s3(folder / "s3")).settings("benchmark")


def _measured(folder: Path, given: dict[str, Any], size: int, rounds: int) -> dict[str, Any]:
    """Measure blobs of one size, after one that does not count."""
    settings = Settings(data_dir=folder / uuid4().hex, **given)
    store = open_store(settings, None)
    client = client_of(settings, str(settings.store_url), patient=True)
    blobs = max(1, min(MOST_A_ROUND, MOST_A_ROUND * MIB // size))
    turns = cycle((CONTESTANTS, CONTESTANTS[::-1]))
    _of_a_round(store, client, folder, size, 1, turns)
    taken = [_of_a_round(store, client, folder, size, blobs, turns) for _ in range(rounds)]
    ways = {way: _compared(size * blobs, [one[way] for one in taken]) for way in WAYS}
    return {"bytes": size, "blobs_a_round": blobs, **ways}


def _of_a_round(
    store: BlobStore,
    client: Client,
    folder: Path,
    size: int,
    blobs: int,
    turns: Iterator[tuple[str, ...]],
) -> dict[str, dict[str, float]]:
    """Return how many seconds each contestant took for so many new blobs, each way."""
    seconds = {way: dict.fromkeys(CONTESTANTS, 0.0) for way in WAYS}
    for _ in range(blobs):
        with tempfile.TemporaryDirectory(dir=folder) as made:
            path = Path(made) / "bytes"
            path.write_bytes(os.urandom(size))
            calls = dict(zip(CONTESTANTS, (_by_service, _by_library), strict=True))
            ready = {name: make(store, client, path) for name, make in calls.items()}
            order = next(turns)
            for at, way in enumerate(WAYS):
                for name in order:
                    if size >= MUCH:
                        os.sync()  # nobody waits for what the other one wrote
                    began = time.perf_counter()
                    ready[name][at]()
                    seconds[way][name] += time.perf_counter() - began
    return seconds


def _by_service(store: BlobStore, _client: Client, path: Path) -> tuple[Call, Call]:
    """Return what puts a file as a version's files are put, and what fetches and checks it."""
    keys: list[str] = []
    return lambda: keys.append(store.put_file(path).key), lambda: store.path(keys[0])


def _by_library(_store: BlobStore, client: Client, path: Path) -> tuple[Call, Call]:
    """Return the same by the library alone."""
    name = uuid4().hex

    def get() -> None:
        with path.with_name("got").open("wb") as out:
            for chunk in obstore.get(client, name):
                out.write(chunk)

    return lambda: obstore.put(client, name, path), get


def _compared(size: int, taken: list[dict[str, float]]) -> dict[str, Any]:
    """Return bytes a second of every round, and how they compare."""
    speeds = {name: [round(size / one[name]) for one in taken] for name in CONTESTANTS}
    quotients = [one["library"] / one["service"] for one in taken]
    return {
        "bytes_a_second": speeds,
        "quotients": [round(one, 3) for one in quotients],
        "quotient": round(median(quotients), 3),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
