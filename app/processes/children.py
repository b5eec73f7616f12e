"""The API and one worker as child processes of `sats serve`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import structlog

from app.processes.restarts import SUPERVISED, write_restarts
from sats_core.parent_death import signal_at_parent_death

POLL_SECONDS = 0.2
MARGIN_SECONDS = 2.0
"""So much later than they end by themselves children are killed."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
STEADY_SECONDS = 60.0

END_WITH_PARENT = (
    partial(signal_at_parent_death, signal.SIGTERM) if sys.platform == "linux" else None
)
"""`preexec_fn` of a child: were we killed with -9, nobody would be left to stop it."""

log = structlog.get_logger(__name__)


def own(module: str) -> list[str]:
    """Return the command line that runs one of our modules.

    -P: a folder of the same name in the working directory is not taken for ours.
    """
    return [sys.executable, "-P", "-m", module]


@dataclass
class Backoff:
    """When what keeps ending is started again: after a wait that doubles, from its last start on.

    Attributes:
        wait: seconds.
        started: when it was started last, on the monotonic clock.
    """

    wait: float = FIRST_WAIT_SECONDS
    started: float = field(default_factory=lambda: time.monotonic())

    def begin_when_due(self) -> bool:
        """Return whether what has ended is started again now; then the next, longer wait begins."""
        now = time.monotonic()
        ran = now - self.started
        if ran > STEADY_SECONDS:
            self.wait = FIRST_WAIT_SECONDS
        if ran < self.wait:
            return False
        self.wait = min(self.wait * 2, LONGEST_WAIT_SECONDS)
        self.started = now
        return True


@dataclass
class Child:
    """A process that runs until it is stopped.

    Attributes:
        name: for the log.
        command: its command line.
        restarts: how often it was started again.
        backoff: when it is, once it has ended.
    """

    name: str
    command: Sequence[str]
    restarts: int = field(default=0, init=False)
    backoff: Backoff = field(default_factory=Backoff, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _end_seen: bool = field(default=False, init=False)

    def start(self) -> None:
        """Start it in a session of its own: Ctrl-C comes to us, and we stop it in order."""
        self._end_seen = False
        self._process = subprocess.Popen(
            self.command,
            env=os.environ | {SUPERVISED: "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=END_WITH_PARENT,
        )
        log.info("started", child=self.name, pid=self._process.pid, restarts=self.restarts)

    def ended(self) -> int | None:
        """Return its exit status, or None while it runs."""
        return self._process.poll() if self._process else None

    def restart_when_due(self) -> bool:
        """Start it again if it has ended, after a wait that doubles as long as it keeps ending.

        Returns whether it was started.
        """
        status = self.ended()
        if status is None:
            return False
        if not self._end_seen:
            self._end_seen = True
            log.error("ended_unasked", child=self.name, status=status)
            self._end_rest()
        if not self.backoff.begin_when_due():
            return False
        self.restarts += 1
        self.start()
        return True

    @property
    def was_killed(self) -> bool:
        """Whether a signal has ended it: it did not end by itself, for a reason that would stay."""
        status = self.ended()
        return status is not None and status < 0

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self._process and self.ended() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and what it has started, where it has not ended yet."""
        if self._process and self.ended() is None:
            log.warning("killed", child=self.name)
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _end_rest(self) -> None:
        """End what it started and left, which may hold what the next one needs: its port.

        Once, as soon as its end is seen: later its number may be another's.
        """
        if self._process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def supervise(api: Child, worker: Child, record: Path, stop_seconds: float) -> int:
    """Run both until SIGINT or SIGTERM, or until the API ends by itself; returns an exit status.

    A worker that dies is started again: the task that it claimed comes back by its lease. So is an
    API that was killed, for want of memory say; what keeps ending waits longer each time. An API
    that ends by itself, as its port is taken or a setting is wrong, would do so again: it ends the
    service. On a second signal both are killed.

    Args:
        api: the HTTP service.
        worker: what trains.
        record: file through which the API knows how often either was started again.
        stop_seconds: in which both end once they are asked to.
    """
    told = 0

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal told
        told += 1

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    write_restarts(record)
    api.start()
    worker.start()
    try:
        while not told and (api.ended() is None or api.was_killed):
            # Both at a time: a worker does not wait for the API, nor is it left out by it.
            due = (api.was_killed and api.restart_when_due(), worker.restart_when_due())
            if any(due):
                write_restarts(record, worker.restarts, api.restarts)
            time.sleep(POLL_SECONDS)
        status = 0 if told else api.ended() or 0
    finally:
        for child in (worker, api):
            child.ask_to_stop()
        deadline = time.monotonic() + stop_seconds + MARGIN_SECONDS
        while told < 2 and time.monotonic() < deadline and None in (worker.ended(), api.ended()):
            time.sleep(POLL_SECONDS)
        for child in (worker, api):
            child.kill()
        record.unlink(missing_ok=True)
        for each, handler in before.items():
            signal.signal(each, handler)
    log.info("stopped")
    return status
