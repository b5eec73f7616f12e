"""Clients that leave without a word, and a real process that they leave."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import httpx
import psutil

from demo.ports import held_port
from tests.app.tasks.reading import eventually
from tests.fixtures.processes import environment

MOST_AT_FIRST, MOST_AFTER = 24 * 2**20, 8 * 2**20
"""Bytes: what 200 at once leave with the allocator, and what 200 more do."""


@contextmanager
def api(settings, log):
    """A real process of the API; yields it and its port."""
    with held_port() as port:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "api", "--port", str(port)],
                env=os.environ | environment(settings),
                stdout=out,
                stderr=out,
            )
        try:
            yield process, port
        finally:
            process.kill()
            process.wait()


def open_and_drop(port, path, count):
    """Open streams, read the beginning of each, and leave without a word."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            opened.append(one)
        for one in opened:
            assert one.recv(65536).startswith(b"HTTP/1.1 200")


def test_200_dropped_streams_leave_nothing_behind(settings, task_id, tmp_path):
    bounded = settings.model_copy(update={"serve_streams": 200})
    log = tmp_path / "api.log"
    with api(bounded, log) as (process, port):
        at = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{at}/health/live").status_code == 200
            except httpx.ConnectError:
                return False

        eventually(answers)
        path = httpx.post(f"{at}/tasks/{task_id}/events/token").json()["url"]
        watched = psutil.Process(process.pid)
        open_and_drop(port, path, 1)  # what the first one alone loads is no leak
        eventually(lambda: not connected(watched, port))
        before = watched.memory_info().rss
        # There is room for 200 again only if all seats of the first 200 are free.
        for most in (MOST_AT_FIRST, MOST_AFTER):
            open_and_drop(port, path, 200)
            eventually(lambda: not connected(watched, port))
            assert watched.memory_info().rss - before < most
            before = watched.memory_info().rss
        assert httpx.get(f"{at}/tasks/{task_id}").status_code == 200
        assert path.partition("token=")[2] not in log.read_text()
        assert "/events" in log.read_text(), "the requests themselves are logged"


def connected(process, port):
    return [
        one
        for one in process.net_connections("tcp")
        if one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED
    ]
