"""Commands whose stdout goes to a disk that takes no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.processes import environment

FULL = Path("/dev/full")
pytestmark = [
    pytest.mark.skipif(not FULL.exists(), reason="no device that is always full"),
    pytest.mark.parametrize("database_url", ["embedded"], indirect=True),
]


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "list", "--json"),
        ("doctor", "--json"),
        ("doctor",),
        ("keys", "list", "--json"),
        ("--help",),
        ("keys", "--help"),
        ("--version",),
    ],
)
def test_a_command_says_that_nothing_could_be_written(engine, settings, words):
    with FULL.open("w") as full:
        done = subprocess.run(
            (sys.executable, "-m", "app.cli", *words),
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment(settings)},
            text=True,
            check=False,
        )
    said = [line for line in done.stderr.splitlines() if line.startswith("sats:")]
    assert said == ["sats: [Errno 28] No space left on device"], done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
