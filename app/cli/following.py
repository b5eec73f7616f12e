"""Following a task of this machine's: as the client does it, where no API need run.

There is one way to follow a task on a terminal, `sats submit --wait`'s. What it asks a service for,
the task and its events, is answered here out of the database.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import typer
from sqlalchemy import Engine

from app.admin.schemas import ScoresJson
from app.cli.calling import endings
from app.cli.submitting import followed
from app.db import Task, TaskState, Version, read_session
from app.tasks.events import events_after
from app.tasks.service import describe, get_task

if TYPE_CHECKING:
    from sats_client.records import TaskRecord

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 3.0
"""How long a task may wait before we say that a worker is needed."""
_EVENTS = "/events"


def follow(engine: Engine, task_id: str) -> "TaskRecord":
    """Tell of a task until it ends, on stderr, and return it as it is then."""
    with endings():
        from sats_client import Client

        with Client("http://localhost", "", transport=Database(engine)) as client:
            last = followed(client.task(task_id))
    _say_version(engine, task_id)
    return last


class Database(httpx.BaseTransport):
    """Answers a client that follows a task, as the API would.

    Args:
        engine: the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer `GET /tasks/{id}` or `GET /tasks/{id}/events`."""
        task_id = request.url.path.removeprefix("/tasks/").removesuffix(_EVENTS)
        if request.url.path.endswith(_EVENTS):
            after = int(request.headers.get("Last-Event-ID", 0))
            return httpx.Response(200, stream=_Events(self._engine, task_id, after))
        with read_session(self._engine) as session:
            shown = describe(session, get_task(session, task_id))
        return httpx.Response(200, content=shown.model_dump_json(by_alias=True))


class _Events(httpx.SyncByteStream):
    def __init__(self, engine: Engine, task_id: str, after: int) -> None:
        self._engine = engine
        self._task_id = task_id
        self._after = after

    def __iter__(self) -> Iterator[bytes]:
        began, told, after, is_over = time.monotonic(), False, self._after, False
        while not is_over:
            with read_session(self._engine) as session:
                events, is_over = events_after(session, self._task_id, after)
                waits = get_task(session, self._task_id).state == TaskState.QUEUED
            for one in events:
                yield one.sse
                after = one.number
            if waits and not told and time.monotonic() - began > PATIENCE_SECONDS:
                typer.echo(
                    "it waits for a worker: `sats serve` or `sats worker` runs one", err=True
                )
                told = True
            if not is_over:
                time.sleep(POLL_SECONDS)


def _say_version(engine: Engine, task_id: str) -> None:
    """Say what became of a task that made a version."""
    with read_session(engine) as session:
        task = session.get_one(Task, task_id)
        if task.version_id is None:
            return
        version = session.get_one(Version, task.version_id)
        live, model = task.state == TaskState.LIVE, task.model.name
    scores = ScoresJson.model_validate(version.scores)
    how = "live" if live else "held: promote it to serve it"
    known = len(version.classes) - 1
    typer.echo(f"version {version.number} of {model!r} is {how}: {known} classes", err=True)
    if scores.miou_all is None:
        typer.echo("it was not scored: no labelled pictures came along", err=True)
    else:
        miou = f"mIoU {scores.miou_all:.3f} on {scores.pictures} labelled pictures"
        typer.echo(miou, err=True)
