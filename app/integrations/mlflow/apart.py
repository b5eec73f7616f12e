"""MLflow's client in a process of its own, whose time and memory are bounded.

The client waits for ever where a server sends a byte now and then, and reads answers of any size. A
process can be ended whatever it does; the next call begins another.
"""

import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from signal import SIGKILL
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import structlog

from app.integrations.mlflow.client import Mlflow, MlflowError, check_installed
from app.processes.children import own
from app.telemetry.logs import configure_logs
from sats_core.parent_death import signal_at_parent_death

CALL_SECONDS = 120.0
"""Of one call, whatever its server does; the first loads the client."""
UPLOAD_SECONDS: Mapping[str, float] = MappingProxyType({Mlflow.write.__name__: 900.0})
"""Of calls that bring files."""
MOST_BYTES = 512 * 2**20
"""That an answer, and what is made of it, may take."""

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)


class Ask(Protocol):
    """Makes a call of `Mlflow`, and raises what that raises."""

    def __call__(
        self, call: Callable[Concatenate[Mlflow, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what the call returns."""


class Apart:
    """Makes calls in a process that is started for the first, and again where it was ended.

    Args:
        uri: where the server is.
    """

    def __init__(self, uri: str) -> None:
        check_installed()
        self._uri = uri
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def __call__(
        self, call: Callable[Concatenate[Mlflow, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what the call returns.

        Raises:
            MlflowError: as the call, and where it took too long or its process ended.
        """
        name = call.__name__
        seconds = UPLOAD_SECONDS.get(name, CALL_SECONDS)
        try:
            pipe = self._started()
            pipe.send((name, args, kwargs))
            answered = pipe.poll(seconds)
            said: tuple[MlflowError | None, Any] = pipe.recv() if answered else (None, None)
        except (OSError, EOFError) as lost:
            self.close()
            raise MlflowError(f"MLflow's client ended while it was asked for `{name}`") from lost
        if not answered:
            self.close()
            raise MlflowError(f"MLflow had not answered `{name}` whole after {seconds:g} s")
        error, answer = said
        if error is not None:
            raise error
        value: T = answer
        return value

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._pipe = self._process = None

    def _started(self) -> Connection:
        if self._pipe is None:
            self._pipe, theirs = Pipe()
            with theirs:
                handle = theirs.fileno()
                words = [*own(__name__), str(handle), self._uri]
                self._process = subprocess.Popen(words, pass_fds=[handle], stdin=subprocess.DEVNULL)
        return self._pipe


def main(handle: int, uri: str) -> None:
    """Answer calls until whoever asks is gone."""
    signal_at_parent_death(SIGKILL)  # in the middle of a call nothing else tells
    configure_logs()
    mlflow: Mlflow | None = None
    with Connection(handle) as pipe, suppress(EOFError):
        while True:
            name, args, kwargs = pipe.recv()
            try:
                if mlflow is None:
                    mlflow = Mlflow(uri)
                    _bound_memory()
                answer: tuple[MlflowError | None, Any] = (
                    None,
                    getattr(mlflow, name)(*args, **kwargs),
                )
            except MlflowError as error:
                answer = error, None
            pipe.send(answer)


def _bound_memory() -> None:
    """Let this process have so much more than it has now, where the system tells what that is."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    has = int(lines["VmData"].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (has + MOST_BYTES, has + MOST_BYTES))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
