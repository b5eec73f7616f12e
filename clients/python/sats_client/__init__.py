"""Client of SATS, a service that keeps a semantic segmentation model learning.

from sats_client import Client

with Client("http://127.0.0.1:8000") as client:
    task = client.submit("my-classes/", name="sheep").wait(progress=True)
    print(task.outcome, task.version)
    print(client.segment("photo.jpg").classes)
"""

from sats_client._settings import DEFAULT_URL
from sats_client.async_client import AsyncClient
from sats_client.client import Client
from sats_client.errors import (
    AccessDenied,
    BadAnswer,
    Conflict,
    Damaged,
    ErrorDetail,
    NotFound,
    Overloaded,
    Problem,
    Refused,
    SatsError,
    TaskCancelled,
    TaskFailed,
    TimedOut,
    Unreachable,
)
from sats_client.models import Classes, Move, Overview, Point, Version, Worker
from sats_client.records import Event, Outcome, Phase, State
from sats_client.tasks import AsyncTask, Task

__all__ = [
    "DEFAULT_URL",
    "AccessDenied",
    "AsyncClient",
    "AsyncTask",
    "BadAnswer",
    "Classes",
    "Client",
    "Conflict",
    "Damaged",
    "ErrorDetail",
    "Event",
    "Move",
    "NotFound",
    "Outcome",
    "Overloaded",
    "Overview",
    "Phase",
    "Point",
    "Problem",
    "Refused",
    "SatsError",
    "State",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TimedOut",
    "Unreachable",
    "Version",
    "Worker",
]
