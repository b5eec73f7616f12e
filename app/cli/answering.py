"""What each process of the API sets up before it answers."""

import gc
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from app.cli.stopping import heed_signals
from app.processes.restarts import SIBLINGS, SUPERVISED
from app.settings import get_settings
from app.telemetry.logs import configure_logs
from sats_core.heap import give_back_freed_memory
from sats_core.parent_death import signal_at_parent_death

SWITCH_SECONDS = 0.0005
"""How long a thread that runs Python may keep others from it. The lanes run it for moments between
long stretches without; by Python's own 5 ms each such moment would wait for one of the event
loop's."""

YOUNG_OBJECTS = 20_000
"""So many are made before they are looked through for garbage: those of a page of a list are all in
use until it is answered. By Python's own 700 such an answer takes a fifteenth longer."""

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Lifespan

log = structlog.get_logger(__name__)


def make_app() -> "FastAPI":
    """Return the service, its process set up."""
    gc.disable()  # until it is started: looking for garbage in what stays is an eighth of a start
    from app.main import create_app

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
    async def lifespan(app: "FastAPI") -> AsyncIterator[Any]:
        async with inner(app) as state:
            # Here uvicorn has its own handlers already.
            heed_signals(app.state.draining, settings.stop_seconds, supervised=supervised)
            with _beside_others(app):
                # What is there now stays: looking all of it through again and again would hold
                # every thread for a tenth of a second.
                gc.freeze()
                gc.set_threshold(YOUNG_OBJECTS)
                gc.enable()
                yield state

    app.router.lifespan_context = lifespan
    return app


@contextmanager
def _beside_others(app: "FastAPI") -> Iterator[None]:
    """Tell the other processes of one `sats api` what this one counts, and ask them."""
    folder = os.environ.get(SIBLINGS)
    if folder is None:
        yield
        return
    from app.probes.siblings import Siblings, packed

    counted, services = app.state.metrics, app.state.services
    own = counted.own(services.settings, services.inference)
    siblings = Siblings(Path(folder), partial(packed, own, str(os.getpid())))
    try:
        siblings.open()
    except OSError as error:
        log.warning("figures_of_this_process_alone", error=str(error))
    counted.siblings = siblings
    try:
        yield
    finally:
        siblings.close()
