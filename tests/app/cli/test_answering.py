"""What a process of the API sets up before it answers."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

ASK = """
import asyncio, gc
from app.cli.answering import make_app

async def started():
    app = make_app()
    async with app.router.lifespan_context(app):
        print(gc.isenabled(), *gc.get_threshold()[:1], gc.get_freeze_count(), len(gc.get_objects()))

asyncio.run(started())
"""


def test_what_is_there_at_the_start_is_not_looked_through_again(tmp_path: Path):
    """Of a million objects a collection holds every thread for a tenth of a second."""
    environment = os.environ | {"SATS_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    enabled, *counts = done.stdout.split()[-4:]
    assert enabled == "True"
    young, frozen, looked_through = map(int, counts)
    assert young > 10_000, "a page of a list is made without a look for garbage"
    assert frozen > 10 * looked_through
