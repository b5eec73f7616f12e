"""What each process of the API sets up before it answers."""

import signal
import sys
import tempfile

from fastapi import FastAPI

from app.logs import configure_logs
from app.main import create_app
from app.settings import get_settings
from sats_core.heap import give_back_freed_memory
from sats_core.parent_death import signal_at_parent_death

SWITCH_SECONDS = 0.0005
"""How long a thread that runs Python may keep others from it. The lanes run it for moments between
long stretches without; by Python's own 5 ms each such moment would wait for one of the event
loop's."""


def make_app() -> FastAPI:
    """Return the service, its process set up."""
    settings = get_settings()
    if settings.api_workers > 1:
        signal_at_parent_death(signal.SIGTERM)  # else it would go on, with the port, unsupervised
    configure_logs()
    give_back_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    tempfile.tempdir = str(settings.incoming_dir)  # uploads are large, and /tmp is often in memory
    return create_app()
