"""Real server processes, children included: started, looked at, frozen for others' turns."""

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_SECONDS = 120.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.01
"""How often a starting server is asked whether it is ready."""
ROOT = Path(__file__).parents[1]


class NotStartedError(Exception):
    """A server did not become ready."""


@dataclass(frozen=True)
class Server:
    """A server that is ready.

    Attributes:
        port: on this machine.
        root: the process that was started.
        ready_seconds: from its start to its first good answer.
    """

    port: int
    root: psutil.Process
    ready_seconds: float

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def processes(self) -> list[psutil.Process]:
        """Return the process that was started and all that come from it."""
        return [self.root, *self.root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that they took so far, those of ended children included."""
        return self._sum(lambda one: sum(one.cpu_times()[:4]))

    def pss_mib(self) -> float:
        """Return their memory, what they share counted once, MiB."""
        return self._sum(lambda one: pss_mib(one.pid))

    def _sum(self, value: Callable[[psutil.Process], float]) -> float:
        found = 0.0
        for one in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                found += value(one)  # one that has ended meanwhile has none
        return found

    def freeze(self) -> None:
        """Stop them all where they are."""
        for one in self.processes():
            one.suspend()

    def thaw(self) -> None:
        """Let them go on."""
        for one in self.processes():
            one.resume()


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process, MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith("Pss:")]
    return int(found.split()[1]) / 1024


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(
    command: Sequence[str], variables: Mapping[str, str], port: int, ready: str, log: Path
) -> Iterator[Server]:
    """Run a server; yields it once it answers 200 at `ready`.

    Args:
        command: that starts it.
        variables: of its environment, beside our own without `SATS_`.
        port: at which it will listen.
        ready: path that tells.
        log: file that takes what it writes.

    Raises:
        NotStartedError: it ended, or was not ready in time.
    """
    began = time.monotonic()
    with started(command, variables, log) as process:
        _wait(process, port, ready, log)
        yield Server(port, psutil.Process(process.pid), time.monotonic() - began)


@contextmanager
def started(
    command: Sequence[str], variables: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process while the block runs; whatever came from it ends with it.

    Args:
        command: that starts it.
        variables: of its environment, beside our own without `SATS_`.
        log: file that takes what it writes.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SATS_")}
    # A machine may forbid bytecode. Who is started again and again has compiled its modules once.
    plain.pop("PYTHONDONTWRITEBYTECODE", None)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=plain | dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to the benchmark alone, which stops it
        )
    try:
        yield process
    finally:
        _stop(process)


def _wait(process: "subprocess.Popen[bytes]", port: int, ready: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if _status(port, ready) == 200:
            return
        time.sleep(LOOK_SECONDS)
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise NotStartedError(f"it did not become ready: {' '.join(last)}")


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0  # not listening yet
    finally:
        connection.close()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and whatever came from it, frozen or not."""
    try:
        root = psutil.Process(process.pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        tree = []
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.resume()
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    left = psutil.wait_procs(tree, timeout=2)[1]
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=STOP_SECONDS)
