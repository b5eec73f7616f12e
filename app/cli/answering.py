"""What each process of the API sets up before it answers."""

import gc
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Lifespan

from app.cli.stopping import heed_signals
from app.main import create_app
from app.processes import SUPERVISED
from app.settings import get_settings
from app.telemetry.logs import configure_logs
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
    app = create_app()
    inner: Lifespan[Any] = app.router.lifespan_context
    supervised = settings.api_workers > 1 or SUPERVISED in os.environ

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state:
            # Here uvicorn has its own handlers already.
            heed_signals(app.state.draining, settings.stop_seconds, supervised=supervised)
            # What is there now stays: looking all of it through again and again would hold every
            # thread for a tenth of a second.
            gc.freeze()
            yield state

    app.router.lifespan_context = lifespan
    return app
