"""What becomes of those who wait when real processes are told to stop."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from threading import Thread

import psutil
import pytest
import uvicorn
from typer.testing import CliRunner

from app.cli import cli, stopping
from app.main import create_app
from tests.app.cli.test_running import _children, _ready, _serving, _until
from tests.app.segmentation.requests import encoded, left_red_right_green
from tests.fixtures.processes import environment

NEVER = 600.0
"""Seconds of grace that no test waits for."""
END_SECONDS = 60
KINDS = {"one": ("api", ()), "several": ("api", ("--workers", "2")), "serve": ("serve", ())}


# What is stopped stands on either pair.
pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@pytest.fixture(params=KINDS)
def running(request, settings, register, tmp_path):
    """Return what runs the service with so many seconds of grace, ready to answer."""
    register()
    command, options = KINDS[request.param]
    CliRunner().invoke(cli, ["migrate"], env=environment(settings))
    log = tmp_path / "log"

    @contextmanager
    def run(grace):
        changed = settings.model_copy(update={"stop_seconds": grace})
        with _serving(changed, log, *options, command=command) as (process, url):
            _until(_ready(url), log)
            if request.param == "several":
                _until(lambda: log.read_text().count("Application startup complete") == 2, log)
            yield process, int(url.rpartition(":")[2]), log

    return run


@pytest.fixture(scope="module")
def picture():
    return encoded(left_red_right_green())


@pytest.fixture
def connected():
    """Return what opens connections to a port; all are closed in the end."""
    with ExitStack() as stack:

        def connect(port):
            made = HTTPConnection("127.0.0.1", port, timeout=END_SECONDS)
            made.connect()
            return stack.enter_context(closing(made))

        yield connect


class Half:
    """A request of which one half has come."""

    def __init__(self, connection, body):
        self.connection = connection
        self.connection.putrequest("POST", "/segment")
        self.connection.putheader("Content-Type", "image/png")
        self.connection.putheader("Content-Length", str(len(body)))
        # The service asks for the body once it has begun with the request.
        self.connection.putheader("Expect", "100-continue")
        self.connection.endheaders()
        said = self.connection.sock.recv(100)
        assert said.startswith(b"HTTP/1.1 100")
        half = len(body) // 2
        self.connection.send(body[:half])
        self.rest = body[half:]

    def send_rest(self):
        self.connection.send(self.rest)

    def answer(self):
        answer = self.connection.getresponse()
        return answer, answer.read()


def _refuses(port):
    """Whether no connection is taken any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False


def _ended(processes):
    with suppress(psutil.NoSuchProcess):
        return all(
            not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in processes
        )
    return False


def _status_of(connection, path="/health/ready"):
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.getheader("Connection")


def test_what_was_accepted_is_answered_and_nobody_else_let_in(running, connected, picture):
    with running(NEVER) as (process, port, log):
        kept = connected(port)
        assert _status_of(kept) == (200, None)
        halves = [Half(connected(port), picture) for _ in range(4)]
        process.send_signal(signal.SIGTERM)
        _until(lambda: _refuses(port), log)
        assert kept.sock.recv(1) == b"", "it asked for nothing more"
        assert process.poll() is None
        for half in halves:
            half.send_rest()
            answer, _ = half.answer()
            assert answer.status == 200
            assert answer.getheader("Connection") == "close"
        assert process.wait(END_SECONDS) in (0, -signal.SIGTERM)
        assert "Traceback" not in log.read_text()


def test_what_cannot_be_finished_is_refused_before_the_end(running, connected, picture):
    with running(4.0) as (process, port, log):
        halves = [Half(connected(port), picture) for _ in range(4)]
        children = _children(process)
        process.send_signal(signal.SIGTERM)
        for half in halves:
            answer, body = half.answer()
            assert answer.status == 503
            assert answer.getheader("Retry-After") == "1"
            assert answer.getheader("Connection") == "close"
            assert "being stopped" in json.loads(body)["detail"]
        process.wait(END_SECONDS)
        _until(lambda: _ended(children), log)
        assert "Traceback" not in log.read_text()


@pytest.mark.usefixtures("database_url")
def test_a_process_whose_event_loop_is_stuck_ends_too():
    stuck = """
import asyncio, threading
from app.cli.stopping import heed_signals
from app.http.draining import Draining

async def wait():
    heed_signals(Draining(), 0.1, supervised=True)
    print("waits", flush=True)
    threading.Event().wait()

asyncio.run(wait())
"""
    command = [sys.executable, "-c", stuck]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_SECONDS) == 0
        finally:
            process.kill()


def test_the_second_signal_ends_it_at_once(running, connected, picture):
    with running(NEVER) as (process, port, log):
        half = Half(connected(port), picture)
        children = _children(process)
        process.send_signal(signal.SIGTERM)
        _until(lambda: _refuses(port), log)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait(END_SECONDS)
        _until(lambda: _ended(children), log)
        with pytest.raises((ConnectionError, OSError)):
            half.answer()


def test_told_by_systemd_and_by_its_parent_a_process_still_answers(running, connected, picture):
    """Of a unit every process gets the signal; those that others started are told again."""
    with running(NEVER) as (process, port, log):
        half = Half(connected(port), picture)
        for one in (process, *_children(process)):
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGTERM)
        _until(lambda: _refuses(port), log)
        half.send_rest()
        answer, _ = half.answer()
        assert answer.status == 200
        process.wait(END_SECONDS)


@pytest.fixture
def served(settings, monkeypatch):
    """Return a port, and what stops the server there; it waits for who is quiet as long as any."""
    monkeypatch.setattr(stopping, "QUIET_SECONDS", NEVER)
    app = create_app(settings)
    config = uvicorn.Config(app, http=stopping.Connection, log_config=None, lifespan="on")
    server = stopping.Server(config)

    def stop():
        app.state.draining.begun = True
        server.should_exit = True

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1], stop
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


def test_who_is_connected_already_may_ask_and_hears_that_it_is_not_ready(
    register, served, connected, picture, caplog
):
    caplog.set_level("INFO", "uvicorn.error")
    register()
    port, stop = served
    _until_logged("Application startup complete", caplog)
    half = Half(connected(port), picture)
    first, another = connected(port), connected(port)
    for each in (first, another):
        assert _status_of(each, "/health/live") == (200, None)
    stop()
    _until_logged("Shutting down", caplog)
    assert _status_of(first) == _status_of(another) == (503, "close")
    half.send_rest()
    assert half.answer()[0].status == 200


def _until_logged(line, caplog):
    while line not in caplog.text:
        time.sleep(0.01)
