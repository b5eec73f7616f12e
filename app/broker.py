"""The Celery broker. A message is only a wake-up: the database row is the truth."""

from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from app.settings import Settings

RUN_TASK = "sats.run_task"
POLLING_SECONDS = 0.05

log = structlog.get_logger(__name__)


def make_celery(settings: Settings) -> Celery:
    """Return the Celery app that API and worker share: Redis by setting, else files in data_dir."""
    celery = Celery("sats")
    celery.conf.update(
        broker_url=settings.redis_url or "filesystem://",
        broker_transport_options=_transport_options(settings),
        broker_connection_retry_on_startup=True,
        task_default_queue="sats",
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
    )
    return celery


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.redis_url:
        return {"socket_connect_timeout": 2, "socket_timeout": 5}
    folder = settings.data_dir.resolve() / "broker"
    messages, control = folder / "messages", folder / "control"
    for path in (messages, control):
        path.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "control_folder": str(control),
        "polling_interval": POLLING_SECONDS,
    }


def wake(celery: Celery, task_id: str) -> None:
    """Tell a worker that a task waits.

    A message that cannot be sent is logged, not raised: the sweep finds the task by its row.
    """
    try:
        celery.send_task(RUN_TASK, args=[task_id], ignore_result=True, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("wake_up_not_sent", task=task_id, error=str(error))
