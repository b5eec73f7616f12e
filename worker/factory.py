"""The worker's Celery app, put together: a task, a sweeper, and a shutdown that loses nothing."""

import os
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from celery import Celery, signals
from sqlalchemy import Engine

from app.broker import QUEUE, RUN_TASK, make_celery, wake
from app.db import make_engine
from app.db.migrate import upgrade
from app.integrations.label_studio.importing import Importing
from app.integrations.mlflow.apart import Apart
from app.integrations.mlflow.mirroring import Mirroring
from app.keys.secret import read_secret
from app.processes.repeating import Repeating
from app.retirement.erasing import Erasing
from app.settings import Settings
from app.storage import BlobStore, open_store
from app.storage.garbage import stores_of
from app.telemetry import tracing
from app.telemetry.logs import configure_logs
from worker.courier import Courier
from worker.device import find_device, visible
from worker.presence import Presence, name_of_this_process
from worker.process import CHILD
from worker.request import EarlyRequest
from worker.supervisor import Supervisor
from worker.sweeper import Sweeper
from worker.turns import whose_turn

IMPORTER_SECONDS = 1.0
"""Between two looks for projects of Label Studio that are to be learned from."""
MIRROR_SECONDS = 10.0
"""Between two looks whether MLflow has what the registry has."""
MIRROR_PATIENCE_SECONDS = 3.0
"""How long a file that is being sent to MLflow holds up the end of the worker."""

log = structlog.get_logger(__name__)


def make_worker(settings: Settings, command: Sequence[str] = CHILD) -> Celery:
    """Return the Celery app of a worker that runs one task at a time, each in a child process.

    Args:
        settings: the process's settings.
        command: command line of the training process.

    Raises:
        NoSuchDeviceError: the settings name a GPU that is not here.
        LostSecretError: the secret under the keys that there are is not there.
    """
    # What is set here is what its child processes see, and so what its steps train on.
    os.environ.update(visible(settings.worker_device, os.environ))
    device = find_device(settings.worker_device, os.environ)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.resolved_database_url, settings.database_limits)
    blobs = open_store(settings, engine)
    celery = make_celery(settings)
    # The step has a process of its own; a pool that forks would only break what is open here.
    celery.conf.update(worker_pool="solo", worker_concurrency=1)
    # A wake-up that any worker may hear, and those that workers with the like send each other.
    queues = (QUEUE, f"{QUEUE}-{device.has.device}")
    celery.conf.update(task_queues={one: {"routing_key": one} for one in queues})
    name = name_of_this_process()
    presence = Presence(engine, name, version("sats"), device, settings.presence_seconds)
    present = Repeating("presence", presence.beat, settings.presence_seconds)
    supervisor = Supervisor(engine, blobs, settings, name, device, command)
    turn = whose_turn(device.has)
    sweeper = Sweeper(
        engine,
        blobs,
        settings,
        renew=supervisor.renew,
        has=device.has,
        wake=partial(wake, celery, queue=queues[-1]),
        idle=lambda: not (supervisor.busy.is_set() or supervisor.stopping.is_set()),
    )
    secret = read_secret(settings, engine)
    courier = Courier(engine, secret, settings.webhook_private)
    erasing = Erasing(engine, stores_of(blobs, settings, engine), settings, secret, name)
    eraser = Repeating("erasing", erasing.act, settings.sweep_seconds)
    importing = Importing(engine, blobs, settings, wake=partial(wake, celery))
    importer = Repeating("label-studio", importing.act, IMPORTER_SECONDS)
    imports = settings.label_studio_url is not None
    mirroring, mirror = _mirror(engine, blobs, settings)

    def run_task(_woken_for: str) -> None:
        supervisor.run(turn)
        eraser.once()  # before the next one: a model that is never idle has no other moment
        sweeper.wake_waiting()  # what waits, or another worker was faster to take, waits no sweep

    def on_init(**_kw: Any) -> None:
        upgrade(engine)
        tracing.start("sats-worker")

    def on_ready(**_kw: Any) -> None:
        log.info("worker_ready", worker=name, device=device.name, devices=device.count)
        most = settings.train_devices
        if device.sharing(most) < most:
            log.warning("fewer_gpus_than_set", train_devices=most, there=device.count)
        present.start()
        sweeper.start()
        courier.start()
        eraser.start()
        if imports:
            importer.start()
        if mirror:
            mirror.start()

    def on_shutting_down(**_kw: Any) -> None:
        supervisor.stopping.set()
        importing.stopping.set()
        erasing.stopping.set()
        if mirroring:
            mirroring.stopping.set()

    def on_shutdown(**_kw: Any) -> None:
        sweeper.stop()
        courier.stop()
        eraser.stop()
        if imports:
            importer.stop()
        if mirror:
            mirror.stop(MIRROR_PATIENCE_SECONDS)
        present.stop()
        presence.leave()
        engine.dispose()
        tracing.stop()

    celery.task(name=RUN_TASK, ignore_result=True, shared=False, Request=EarlyRequest)(run_task)
    signals.setup_logging.connect(lambda **_kw: configure_logs(), weak=False)
    signals.worker_init.connect(on_init, weak=False)
    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutting_down.connect(on_shutting_down, weak=False)
    signals.worker_shutdown.connect(on_shutdown, weak=False)
    return celery


def _mirror(
    engine: Engine, blobs: BlobStore, settings: Settings
) -> tuple[Mirroring, Repeating] | tuple[None, None]:
    if settings.mlflow_tracking_uri is None:
        return None, None
    mirroring = Mirroring(engine, blobs, settings, Apart(settings.mlflow_tracking_uri))
    return mirroring, Repeating("mlflow", mirroring.act, MIRROR_SECONDS)
