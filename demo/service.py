"""A service of the demo's own: `sats serve` in a process, on a free port, with fresh data."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from demo.ports import held_port

START_SECONDS = 180
STOP_SECONDS = 40
LOG_TAIL_LINES = 15


class DemoError(Exception):
    """The demo cannot go on; the message is for its user."""


@contextmanager
def serving(folder: Path, threads: int | None = None) -> Iterator[str]:
    """Run the service on a fresh `folder` and give its URL; it is stopped at the end.

    Args:
        folder: its data and its log; emptied first.
        threads: of its training; None leaves SATS_THREADS as it is.

    Raises:
        DemoError: it did not come up.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "service.log"
    with held_port() as port, log.open("wb") as out:
        # -P: a folder called `app` where somebody runs the demo is not the service.
        command = [sys.executable, "-P", "-m", "app.cli", "serve", "--port", str(port)]
        process = subprocess.Popen(
            command,
            env=_environment(folder, threads),
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C comes to the demo alone, which stops the service
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log)
            yield url
        finally:
            _stop(process)


def _environment(folder: Path, threads: int | None) -> dict[str, str]:
    """Return this process's environment, less settings that lead to somebody's real service."""
    kept = {"SATS_THREADS", "SATS_SERVE_THREADS"}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SATS_") or name in kept
    }
    if threads:
        environment["SATS_THREADS"] = str(threads)
    return environment | {"SATS_DATA_DIR": str(folder.resolve() / "data")}


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health/ready", timeout=2, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.2)
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    raise DemoError("the service did not start; the end of its log:\n" + "\n".join(lines))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
