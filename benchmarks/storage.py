"""How fast blobs go into an object store and come back, beside the library that does it alone.

`python -m benchmarks.storage` starts an S3 server of its own on this machine; with `--url`, and
what else SATS_STORE_... says, it takes that bucket. It writes its section of `scale.json` to
`--results`: bytes a second of the service's store and of the library, round by round in turns, and
how their medians compare. The bar is 0.9.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import obstore

from app.settings import Settings
from app.storage import BlobStore, open_store
from app.storage.bucket import PART_BYTES, PARTS_AT_ONCE
from app.storage.bucket_client import Client, client_of
from benchmarks.scale_record import write_section

BAR = 0.9
MIB = 1024 * 1024


def main(arguments: list[str]) -> int:
    """Measure and print; exit status 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=float, nargs="+", default=[1, 16, 256], help="of a blob")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--url", help="s3://bucket/prefix; default: a server of its own")
    asked = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sats-storage-")))
        given = {"store_url": asked.url} if asked.url else _own_server(stack, folder)
        found = [_measured(folder, given, round(mib * MIB), asked.rounds) for mib in asked.mib]
    held = all(one[way]["quotient"] >= BAR for one in found for way in ("put", "get"))
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
    """Measure blobs of one size; each round has new bytes, and a host that has none of them."""
    seconds: dict[str, dict[str, list[float]]] = {
        way: {"service": [], "library": []} for way in ("put", "get")
    }
    for number in range(rounds):
        settings = Settings(data_dir=folder / uuid4().hex, **given)
        url = str(settings.store_url)
        store, client = open_store(settings), client_of(settings, url, patient=True)
        turns = [
            ("service", _by_service(store, size)),
            ("library", _by_library(client, size, folder)),
        ]
        for name, calls in turns if number % 2 else reversed(turns):
            for way, call in zip(("put", "get"), calls, strict=True):
                began = time.perf_counter()
                call()
                seconds[way][name].append(time.perf_counter() - began)
    return {"bytes": size, **{way: _compared(size, found) for way, found in seconds.items()}}


def _by_service(store: BlobStore, size: int) -> tuple[Callable[[], object], ...]:
    """Return what puts a blob, as a posted file is put, and what reads it on another host."""
    data = os.urandom(size)
    keys: list[str] = []

    def put() -> None:
        with store.stage(io.BytesIO(data)) as staged:
            staged.send()
            staged.publish()
            keys.append(staged.blob.key)

    return put, lambda: store.path(keys[0])


def _by_library(client: Client, size: int, folder: Path) -> tuple[Callable[[], object], ...]:
    """Return the same by the library alone: a file to an object, and an object to a file."""
    path, name = folder / uuid4().hex, uuid4().hex
    path.write_bytes(os.urandom(size))

    def put() -> None:
        obstore.put(client, name, path, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def get() -> None:
        with path.with_suffix(".got").open("wb") as out:
            for chunk in _chunks(client, name):
                out.write(chunk)

    return put, get


def _chunks(client: Client, name: str) -> Iterator[bytes]:
    yield from obstore.get(client, name).stream(min_chunk_size=MIB)


def _compared(size: int, found: dict[str, list[float]]) -> dict[str, Any]:
    """Return bytes a second, and how the medians compare."""
    speeds = {name: [round(size / one) for one in seconds] for name, seconds in found.items()}
    quotient = median(speeds["service"]) / median(speeds["library"])
    return {"bytes_a_second": speeds, "quotient": round(quotient, 3)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
