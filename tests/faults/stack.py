"""A whole service in real processes, on one of the two pairs, that may be struck and mended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from app.db import make_engine
from app.doctor.finding import Installation
from app.processes.children import own
from app.settings import MIB, Settings
from demo.ports import held_port
from tests.faults.process import ROOT, Process
from tests.fixtures.databases import new_database
from tests.fixtures.processes import environment
from tests.fixtures.servers import postgres, redis_url_in, start_redis

Pair = Literal["embedded", "served"]
START_SECONDS = 120.0


class DidNotHappenError(Exception):
    """What was waited for did not happen."""


def wait_until(holds: Callable[[], bool], seconds: float, what: str, every: float = 0.05) -> None:
    """Wait until something holds.

    Raises:
        DidNotHappenError: it does not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise DidNotHappenError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


@dataclass
class Stack:
    """A service.

    Attributes:
        pair: what it stands on.
        folder: what is not on its disk: logs, Redis, the faults' own files.
        disk: what its data is on; a small file system of its own where one may be mounted.
        own_disk: whether it is one.
        settings: of all processes.
        url: of the API.
        api: the HTTP service.
        workers: the workers.
        ended_unasked: which processes ended without being struck.
    """

    pair: Pair
    folder: Path
    disk: Path
    own_disk: bool
    settings: Settings
    url: str
    api: Process
    workers: list[Process]
    redis: "subprocess.Popen[bytes] | None" = None
    ended_unasked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = make_engine(
            self.settings.resolved_database_url, self.settings.database_limits
        )
        self.installation = Installation.of(self.engine, self.settings)

    @property
    def faulty_store(self) -> Path:
        """The file that makes the store slow or fail while it is there."""
        return self.folder / "faulty-store.json"

    @property
    def redis_folder(self) -> Path:
        """Where Redis has its socket and its data."""
        return self.folder / "redis"

    def start_redis(self) -> None:
        """Start Redis with what data it finds."""
        self.redis = start_redis(self.redis_folder, durable=True)

    def kill_redis(self) -> None:
        """End Redis with SIGKILL."""
        if self.redis is not None:
            self.redis.kill()
            self.redis.wait()

    def keep(self) -> None:
        """Start every process again that has ended, as a supervisor of services does."""
        for process in (self.api, *self.workers):
            if not process.runs():
                if not process.struck:
                    self.ended_unasked.append(process.name)
                process.start()

    def wait_for_api(self) -> None:
        """Wait until the API answers."""
        wait_until(self._answers, START_SECONDS, "the API answers")

    def _answers(self) -> bool:
        self.keep()
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health/live", timeout=10).status_code == 200
        return False

    def stop(self) -> None:
        """End every process."""
        for process in (*self.workers, self.api):
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in (*self.workers, self.api):
            process.stop()
        self.engine.dispose()
        self.kill_redis()


@contextmanager
def running_stack(
    pair: Pair,
    workers: int = 2,
    command: Sequence[str] | None = None,
    disk_mib: int = 0,
    **env: str,
) -> Iterator[Stack]:
    """Run a new, empty service.

    Args:
        pair: what it stands on.
        workers: how many workers.
        command: command line of a worker; default: `sats worker`.
        disk_mib: size of the file system in memory that its data is on; 0: none of its own.
        env: environment of the processes beside the settings.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="sats-faults-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        disk = folder / "disk"
        disk.mkdir()
        own_disk = disk_mib > 0 and stack.enter_context(_mounted(disk, disk_mib))
        (folder / "redis").mkdir()
        settings = _settings(pair, disk, folder)
        if pair == "served":
            server = stack.enter_context(postgres())
            settings = settings.model_copy(update={"database_url": new_database(server)})
        port = stack.enter_context(held_port())
        made = _assemble(pair, folder, disk, own_disk, settings, port, workers, command, env)
        stack.callback(made.stop)
        if pair == "served":
            made.start_redis()
        made.api.start()
        made.wait_for_api()  # it migrates the database; workers need not try at the same time
        made.keep()
        made.ended_unasked.clear()
        yield made


def _assemble(
    pair: Pair,
    folder: Path,
    disk: Path,
    own_disk: bool,
    settings: Settings,
    port: int,
    workers: int,
    command: Sequence[str] | None,
    env: dict[str, str],
) -> Stack:
    paths = [str(Path(__file__).with_name("faulty_store")), str(ROOT)]
    whole = {
        **os.environ,
        **environment(settings),
        **env,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "FAULTY_STORE": str(folder / "faulty-store.json"),
        "FAULTY_STORE_ROOT": str(settings.blob_dir.resolve()),
    }
    api = Process("api", [*own("app.cli"), "api", f"--port={port}"], whole, folder / "api.log")
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    run = command or [*own("app.cli"), "worker"]
    return Stack(
        pair,
        folder,
        disk,
        own_disk,
        settings,
        f"http://127.0.0.1:{port}",
        api,
        [Process(name, run, whole, folder / f"{name}.log", struck=True) for name in names],
    )


def _settings(pair: Pair, disk: Path, folder: Path) -> Settings:
    return Settings(
        data_dir=disk / "data",
        database_url=None,
        redis_url=redis_url_in(folder / "redis") if pair == "served" else None,
        lease_seconds=4.0,
        heartbeat_seconds=0.5,
        sweep_seconds=0.5,
        gc_seconds=3.0,
        gc_grace_seconds=60.0,
        max_tries=6,
        keep_free_bytes=0,
        max_upload_bytes=8 * MIB,
        max_unpacked_bytes=32 * MIB,
        threads=1,
        serve_threads=1,
    )


@contextmanager
def _mounted(folder: Path, mib: int) -> Iterator[bool]:
    """Mount a small file system in memory; say whether that may be done here.

    A process of its own unmounts it once this one lets go of its input, however this one ends.
    """
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        yield False
        return
    script = 'mount -t tmpfs -o "size=$1m" tmpfs "$2" && echo mounted && read -r _; umount -l "$2"'
    with subprocess.Popen(
        ["sh", "-c", script, "sh", str(mib), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as keeper:
        yield keeper.stdout is not None and keeper.stdout.readline() == b"mounted\n"


def make_store_faulty(
    stack: Stack, seconds: float, errno: int, of: Literal["writes", "reads"] = "writes"
) -> None:
    """Let every sync below the blob store, or every reader's open, take so long.

    It fails with `errno` then, unless that is 0.
    """
    half = stack.faulty_store.with_suffix(".half")
    half.write_text(json.dumps({"of": of, "seconds": seconds, "errno": errno}))
    half.replace(stack.faulty_store)
