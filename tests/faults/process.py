"""A process of the service that may be struck, and is started again."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sats_core.parent_death import signal_at_parent_death

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 30
_END_WITH_PARENT = partial(signal_at_parent_death, signal.SIGKILL)


@dataclass
class Process:
    """A process of the service that is started again whenever it has ended.

    Attributes:
        name: for the log.
        command: its command line.
        env: its whole environment.
        log: file that its output goes to.
        struck: whether its end was ours.
    """

    name: str
    command: Sequence[str]
    env: dict[str, str]
    log: Path
    struck: bool = False
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        """The process id of the one that ran last."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it."""
        self.struck = False
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_END_WITH_PARENT if sys.platform == "linux" else None,
            )

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended gets none."""
        if self._process is not None and self.runs():
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.struck = True
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        self.struck = True
        self.send(signal.SIGTERM)
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
