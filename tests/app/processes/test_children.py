"""A child process that ends unasked, and what it leaves."""

import os
import select
import signal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from structlog.testing import capture_logs
from uvicorn.supervisors.multiprocess import SIGNALS

from app.cli import stopping
from app.processes import children as processes
from app.processes.children import Child

PATIENCE_SECONDS = 60


def ended_child(*command: str) -> Child:
    """Run a command to its end; the wait until it is due again is longer than any test."""
    child = Child("made", command)
    child.backoff.wait = 3600
    child.start()
    assert child._process
    child._process.wait(PATIENCE_SECONDS)
    return child


def test_what_it_left_is_ended_as_soon_as_its_end_is_seen(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    try:
        child = ended_child("sh", "-c", 'exec 3> "$0"; sleep 3600 & exit 1', str(held))
        assert not select.select([reader], [], [], 0)[0], "what it left holds the pipe"
        assert not child.restart_when_due()
        assert select.select([reader], [], [], PATIENCE_SECONDS)[0]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_its_number_is_used_once_though_it_waits_for_long(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    asked: list[tuple[int, int]] = []

    def killpg(number: int, with_signal: int) -> None:
        asked.append((number, with_signal))
        raise error

    child = ended_child("true")
    assert child._process
    number = child._process.pid
    monkeypatch.setattr(processes.os, "killpg", killpg)
    for _ in range(3):
        assert not child.restart_when_due()
    assert asked == [(number, signal.SIGKILL)]
    child.backoff.wait = 0
    assert child.restart_when_due()
    assert asked == [(number, signal.SIGKILL)]
    child._process.wait(PATIENCE_SECONDS)
    child.backoff.wait = 3600
    assert not child.restart_when_due()
    assert len(asked) == 2, "the next one's own"


def test_its_end_is_logged_once_when_it_is_seen() -> None:
    child = ended_child("sh", "-c", "exit 3")
    with capture_logs() as logs:
        assert not child.restart_when_due()
        assert not child.restart_when_due()
    ended = [(one["event"], one["child"], one["status"]) for one in logs]
    assert ended == [("ended_unasked", "made", 3)]


def test_what_is_killed_at_every_start_is_started_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(processes.time, "monotonic", lambda: now)
    backoff, waits = processes.Backoff(), []
    for _ in range(8):
        begun = now
        while not backoff.begin_when_due():
            now += 0.5
        waits.append(now - begun)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    now += processes.STEADY_SECONDS + 1
    assert backoff.begin_when_due(), "it has worked for long: that it ends is news"
    assert backoff.wait == 2 * processes.FIRST_WAIT_SECONDS


def test_a_process_of_several_that_is_killed_at_every_start_waits_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, told, started = 1000.0, [], []
    monkeypatch.setattr(processes.time, "monotonic", lambda: now)

    class Killed:
        """A process that the kernel ends as soon as it is started."""

        pid, exitcode, process = 1, -9, SimpleNamespace(is_alive=lambda: False)

        def __init__(self, *_: object) -> None:
            pass

        def start(self) -> None:
            started.append(now)

        def join(self) -> None:
            pass

    monkeypatch.setattr(stopping, "Process", Killed)
    before = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        config = uvicorn.Config("none", workers=1)
        several = stopping.Workers(config, [], 1.0, supervised=False, tell=told.append)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    several.processes = [Killed()]  # type: ignore[list-item]
    several.processes[0].start()
    with capture_logs() as logs:
        several.keep_subprocess_alive()
        seen = [one["event"] for one in logs]
        assert seen == ["ended_unasked"], "at once, not when it is started again"
        for _ in range(300):
            several.keep_subprocess_alive()
            now += 0.5
    gaps = [later - earlier for earlier, later in pairwise(started)]
    assert gaps == [1, 2, 4, 8, 16, 30, 30, 30]
    ends = [one for one in logs if one["event"] == "ended_unasked"]
    assert len(ends) == len(started), "each once"
    assert told == list(range(len(started))), "the start itself is none"
