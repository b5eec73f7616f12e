"""The Celery broker. A message is only a wake-up: the database row is the truth."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import structlog

from app.broker.folders import (
    check_writable,
    collect_leftovers,
    lay_out,
    transport_options,
    unreadable_folder,
)
from app.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

RUN_TASK = "sats.run_task"
QUEUE = "sats"
POLLING_SECONDS = 0.05
CONNECT_SECONDS = 2
REDIS_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 5}

log = structlog.get_logger(__name__)


def make_celery(settings: Settings) -> "Celery":
    """Return the Celery app that API and worker share: Redis by setting, else files in data_dir.

    Celery is imported here, and so by who sends or takes messages alone.
    """
    from celery import Celery

    celery = Celery("sats")
    celery.conf.update(
        broker_url=settings.redis_url or "filesystem://",
        broker_transport=None if settings.redis_url else "app.broker.messages:Transport",
        broker_transport_options=_transport_options(settings),
        broker_connection_retry_on_startup=True,
        # A Redis that answers and writes nothing, as in a failover, is waited for like one away.
        broker_channel_error_retry=True,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
    )
    return celery


class Sender:
    """Celery's app for a process that may never send a message: made for the first one.

    Of several threads that come at once, one makes it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._made: Celery | None = None

    @property
    def celery(self) -> "Celery":
        """The app."""
        with self._lock:
            if self._made is None:
                self._made = make_celery(self._settings)
            return self._made

    def close(self) -> None:
        """Give its connections back."""
        with self._lock:
            if self._made is not None:
                self._made.close()


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.redis_url:
        return dict(REDIS_OPTIONS)
    return transport_options(broker_folder(settings), POLLING_SECONDS)


def skipped_messages(settings: Settings) -> int | None:
    """Return how many files the embedded broker set aside as no messages; None with Redis.

    They lie in `data_dir/broker/unreadable` until somebody deletes them. None is needed: the sweep
    finds the task of a lost wake-up by its row.
    """
    if settings.redis_url:
        return None
    folder = unreadable_folder(broker_folder(settings))
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def collect_unfinished_messages(settings: Settings) -> list[str]:
    """Remove what lost processes left in the embedded broker's folders; return the files' names.

    Only what is older than `gc_grace_seconds`; nothing with Redis.
    """
    if settings.redis_url:
        return []
    left = collect_leftovers(broker_folder(settings), settings.gc_grace_seconds)
    return [file.name for file in left]


def broker_folder(settings: Settings) -> Path:
    """Return where the embedded broker keeps its messages."""
    return settings.data_dir.resolve() / "broker"


def make_folders(settings: Settings) -> None:
    """Make the embedded broker's folders; nothing with Redis."""
    if not settings.redis_url:
        lay_out(broker_folder(settings))


def broker_fault(settings: Settings, celery: "Callable[[], Celery]") -> str | None:
    """Return why no message can be sent; None: it can. Of files Celery need not be asked."""
    if not settings.redis_url:
        try:
            check_writable(broker_folder(settings))
        except OSError as error:
            return type(error).__name__
        return None
    from kombu.exceptions import OperationalError

    try:
        with celery().connection_for_write(connect_timeout=CONNECT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
    except (OperationalError, OSError) as error:
        return type(error).__name__
    return None


def wake(celery: "Celery", task_id: str, queue: str = QUEUE) -> None:
    """Tell a worker that a task waits: it takes the one whose turn it is, which may be another.

    A message that cannot be sent is logged, not raised: the sweep finds the task by its row.
    """
    from kombu.exceptions import OperationalError

    try:
        celery.send_task(RUN_TASK, args=[task_id], queue=queue, ignore_result=True, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("wake_up_not_sent", task=task_id, error=str(error))
