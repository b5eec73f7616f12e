"""The training process as its worker sees it: started, listened to, stopped."""

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import structlog
from pydantic import ValidationError

from app.processes.children import own
from sats_core.events import Event, parse_event
from worker.child import STOPPED
from worker.log_tail import LogTail

CHILD = own("worker.child")
"""Command line of the training process; the job file comes behind it."""

PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What the training process's threads do while they wait for each other: sleep. To spin, which is
the default, takes the core from whom they wait for as soon as anything else runs beside them."""

STOP_SECONDS = 5.0
"""How long a process that was asked to stop may take before it is killed."""

VMSTAT = Path("/proc/vmstat")
"""Where Linux counts, among others, whom it killed for lack of memory."""

log = structlog.get_logger(__name__)


class TrainingProcess:
    """A child process that runs one step; a context manager that leaves no process behind.

    Args:
        command: the command line; the job file is put behind it.
        job_file: what to run.
        inherit: a file descriptor that the child keeps open as long as it lives.
        log: what it writes to stderr; the worker's own stderr gets it too.
    """

    def __init__(
        self, command: Sequence[str], job_file: Path, inherit: int, log: LogTail | None = None
    ) -> None:
        self._log = log or LogTail()
        self._oom_kills = oom_kills()
        self._process = subprocess.Popen(
            [*command, str(job_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[inherit],
            process_group=0,  # Ctrl-C in a terminal reaches the worker only; see `kill`
            env={**PATIENT_THREADS, **os.environ},
        )
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=read, args=(stream,), name=name, daemon=True)
            for read, stream, name in (
                (self._read, self._process.stdout, "child-events"),
                (self._copy, self._process.stderr, "child-log"),
            )
        ]
        for reader in self._readers:
            reader.start()
        self.ended = False
        """Whether the process closed its stdout; there will be no more events."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def next_event(self, wait_seconds: float) -> Event | None:
        """Return the next event, or None if there is none within `wait_seconds`."""
        if self.ended:
            return None
        try:
            event = self._events.get(timeout=wait_seconds)
        except queue.Empty:
            if self._process.poll() is None:
                return None
            # It is gone, and something that it started still holds its stdout open.
            self.kill()
            event = self._events.get()
        self.ended = event is None
        return event

    def stop(self) -> Iterator[Event]:
        """Ask the process to stop, kill it if it does not; return what it said until its end."""
        self._process.terminate()
        self.wait()
        return iter(partial(self.next_event, 0.0), None)

    def wait(self) -> int:
        """Return the exit status of a process that is at its end."""
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("child_does_not_end", pid=self.pid)
        return self.kill()

    def kill(self) -> int:
        """End the process, and whatever it started, at once; return its exit status."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return status

    def ran_out_of_memory(self, status: int) -> bool:
        """Whether it was killed (exit status `status`) while the kernel killed for memory."""
        return status == -signal.SIGKILL and oom_kills() > self._oom_kills

    def _copy(self, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), 65536):
            self._log.add(chunk)
            with suppress(OSError):  # whoever reads our stderr may be gone
                os.write(2, chunk)

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            try:
                self._events.put(parse_event(line))
            except ValidationError:
                log.warning("child_said_no_event", pid=self._process.pid, line=line[:200])
        self._events.put(None)


def how_it_ended(status: int) -> str:
    """Say in words how a process with this exit status ended."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"The training process was killed ({name})."
    if status == STOPPED:
        return "The training process was asked to stop (SIGTERM)."
    return f"The training process ended unexpectedly (status {status}); the task's log says why."


def oom_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory since it started.

    Those of a container's limit count too. Where nobody counts (not Linux) it is always 0.
    """
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
