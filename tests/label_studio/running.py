"""A real Label Studio and a real service, each in a process of its own."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("SATS_LABEL_STUDIO_VENV", ROOT / ".venv-label-studio")) / "bin/python"
"""Of the environment that Label Studio is installed in."""
TOKEN = "0123456789abcdef0123456789abcdef01234567"
START_SECONDS = 900
"""It makes its tables when it starts for the first time."""

_LOCAL = {
    "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
    "SSRF_PROTECTION_ENABLED": "false",
    "ML_BLOCK_LOCAL_IP": "false",
    "COLLECT_ANALYTICS": "false",
}
"""The service is on this machine, where Label Studio would call nobody."""


@contextmanager
def label_studio(folder: Path) -> Iterator[str]:
    """Run Label Studio on a database of its own and give its URL."""
    given = os.environ.get("SATS_TEST_LABEL_STUDIO_URL")
    if given:
        yield given
        return
    port = free_port()
    command = [
        *(PYTHON, PYTHON.parent / "label-studio", "start", "--no-browser", "--data-dir", folder),
        *("--port", port, "--internal-host", "127.0.0.1"),
        *("--username", "tests@example.org", "--password", "of-the-tests"),
        *("--user-token", TOKEN, "--enable-legacy-api-token"),
    ]
    url = f"http://127.0.0.1:{port}"
    with process([str(part) for part in command], _LOCAL, folder / "label-studio.log"):
        until_answered(f"{url}/api/version", START_SECONDS, folder / "label-studio.log")
        yield url


@contextmanager
def service(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """Run `sats serve` and give its URL."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "app.cli", "serve", "--port", str(port)]
    with process(command, settings, folder / "service.log"):
        url = f"http://127.0.0.1:{port}"
        until_answered(f"{url}/health/ready", 120, folder / "service.log")
        yield url


def sats(settings: Mapping[str, str], *words: str) -> str:
    """Run a command of the service and return what it prints."""
    command = [sys.executable, "-P", "-m", "app.cli", *words]
    return subprocess.check_output(command, env=environment(settings), text=True, cwd=ROOT)


def made_key(settings: Mapping[str, str], *scopes: str) -> str:
    """Make an API key."""
    words = [word for scope in scopes for word in ("--scope", scope)]
    found = re.search(r"sats_\w+", sats(settings, "keys", "create", "-".join(scopes), *words))
    assert found is not None
    return found[0]


def in_its_environment(code: str, said: str) -> str:
    """Run Python where Label Studio's SDK is, with something on its standard input."""
    return subprocess.check_output([str(PYTHON), "-c", code], input=said, text=True)


def environment(more: Mapping[str, str]) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SATS_")}
    return plain | {"PYTHONPATH": str(ROOT)} | dict(more)


@contextmanager
def process(command: Sequence[str], more: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run a process, and end it and all that it has started."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            command,
            env=environment(more),
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=log.parent if "label-studio" in log.name else ROOT,
        )
        try:
            yield
        finally:
            running.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(60)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def until_answered(url: str, seconds: float, log: Path) -> None:
    """Wait until somebody answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=10, trust_env=False).status_code < 500:
                return
        time.sleep(0.5)
    raise AssertionError(f"{url} does not answer:\n{log.read_text(errors='replace')[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
