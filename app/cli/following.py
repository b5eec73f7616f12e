"""A task's events on the terminal, read where the service keeps them."""

import sys
import time
from typing import TYPE_CHECKING

import typer
from sqlalchemy import Engine

from app.admin.schemas import ScoresJson
from app.db import Task, TaskState, Version, read_session
from app.tasks.event_schemas import TaskEventJson, TaskStateEvent
from app.tasks.events import events_after
from app.tasks.states import ENDED

if TYPE_CHECKING:
    from sats_client import Event

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 3.0
"""How long a task may wait before we say that a worker is needed."""


def follow(engine: Engine, task_id: str) -> TaskState:
    """Print a task's events as they come, until it ends; return the state it ended in."""
    from sats_client.printing import Printer

    printer = Printer(sys.stdout)
    typer.echo(f"task {task_id}")
    began, told, after = time.monotonic(), False, 0
    while True:
        with read_session(engine) as session:
            events, ended = events_after(session, task_id, after)
            task = session.get_one(Task, task_id)
        for one in events:
            if not (isinstance(one.event, TaskStateEvent) and one.event.data.state in ENDED):
                printer(as_client_reads(one.event))
            after = one.number
        if ended:
            printer.end()
            _say_end(engine, task)
            return TaskState(task.state)
        if task.state != TaskState.QUEUED:
            told = True
        if not told and time.monotonic() - began > PATIENCE_SECONDS:
            typer.echo("it waits for a worker: `sats serve` or `sats worker` runs one")
            told = True
        time.sleep(POLL_SECONDS)


def as_client_reads(event: TaskEventJson) -> "Event":
    """Return an event as it is to a client that the service tells of it."""
    from sats_client import Event

    return Event(**event.model_dump())


def _say_end(engine: Engine, task: Task) -> None:
    if task.state == TaskState.FAILED and task.error is not None:
        typer.echo(f"failed: {task.error['detail']}")
        for one in task.error["errors"]:
            place = one.get("file") or one.get("field") or one.get("class")
            typer.echo(f"  {place}: {one['message']}" if place else f"  {one['message']}")
    elif task.state == TaskState.CANCELLED:
        typer.echo("cancelled")
    elif task.version_id is not None:
        _say_version(engine, task)


def _say_version(engine: Engine, task: Task) -> None:
    with read_session(engine) as session:
        version = session.get_one(Version, task.version_id)
    scores = ScoresJson.model_validate(version.scores)
    live = task.state == TaskState.LIVE
    typer.echo(
        f"version {version.number} of {task.model.name!r} is "
        f"{'live' if live else 'held: promote it to serve it'}: {len(version.classes) - 1} classes"
    )
    if scores.miou_all is None:
        typer.echo("it was not scored: no labelled pictures came along")
    else:
        typer.echo(f"mIoU {scores.miou_all:.3f} on {scores.pictures} labelled pictures")
