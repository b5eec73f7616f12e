"""A child process that ends unasked, and what it leaves."""

import os
import select
import signal
from pathlib import Path

import pytest

from app import processes
from app.processes import Child

PATIENCE_SECONDS = 60


def ended_child(*command: str) -> Child:
    """Run a command to its end; the wait until it is due again is longer than any test."""
    child = Child("made", command)
    child._wait = 3600
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
    child._wait = 0
    assert child.restart_when_due()
    assert asked == [(number, signal.SIGKILL)]
    child._process.wait(PATIENCE_SECONDS)
    child._wait = 3600
    assert not child.restart_when_due()
    assert len(asked) == 2, "the next one's own"
