"""A task's events on the terminal."""

import time

from rich.console import Console
from sqlalchemy import Engine

from app.admin.schemas import ScoresJson
from app.db import Task, TaskState, Version, read_session
from app.tasks.event_schemas import (
    StateData,
    TaskEventJson,
    TaskLabelsEvent,
    TaskProgressEvent,
    TaskStateEvent,
    TaskWarningEvent,
)
from app.tasks.events import events_after
from app.tasks.states import ENDED

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 3.0
"""How long a task may wait before we say that a worker is needed."""


def follow(engine: Engine, task_id: str) -> TaskState:
    """Print a task's events as they come, until it ends; return the state it ended in."""
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    console.print(f"task {task_id}")
    began, told, after, said = time.monotonic(), False, 0, ""
    while True:
        with read_session(engine) as session:
            events, ended = events_after(session, task_id, after)
            task = session.get_one(Task, task_id)
        for one in events:
            for line in lines(one.event):
                if line != said:  # a worker says that it validates, then its child does
                    console.print(line)
                said = line
            after = one.number
        if ended:
            _say_result(engine, console, task)
            return TaskState(task.state)
        if task.state != TaskState.QUEUED:
            told = True
        if not told and time.monotonic() - began > PATIENCE_SECONDS:
            console.print("it waits for a worker: `sats serve` or `sats worker` runs one")
            told = True
        time.sleep(POLL_SECONDS)


def lines(event: TaskEventJson) -> list[str]:
    """Return how an event looks on a terminal; none for what need not be seen."""
    match event:
        case TaskWarningEvent():
            return [f"warning: {event.data['message']}"]
        case TaskLabelsEvent():
            return [
                f"labels: {one['class_name']} in {one['pictures']} of {event.data['pictures']} "
                f"pictures to train on, {one['share']:.1%} of their pixels"
                for one in event.data["classes"]
            ]
        case TaskProgressEvent(data=data) if data["steps"]:
            return [f"{data['phase']}: {data['step']} of {data['steps']}"]
        case TaskStateEvent():
            return _state_lines(event.data)
    return []


def _state_lines(data: StateData) -> list[str]:
    error = data.error
    if error is None:
        return [data.phase or data.state] if data.state not in ENDED else []
    named = (one.get("file") or one.get("field") or one.get("class") for one in error["errors"])
    faults = [
        f"  {name}: {one['message']}" for name, one in zip(named, error["errors"], strict=True)
    ]
    return [f"{data.state}: {error['detail']}", *faults]


def _say_result(engine: Engine, console: Console, task: Task) -> None:
    if task.version_id is None:
        if task.state == TaskState.CANCELLED:
            console.print("cancelled")
        return
    with read_session(engine) as session:
        version = session.get_one(Version, task.version_id)
    scores = ScoresJson.model_validate(version.scores)
    live = task.state == TaskState.LIVE
    console.print(
        f"version {version.number} of {task.model.name!r} is "
        f"{'live' if live else 'held: promote it to serve it'}: {len(version.classes) - 1} classes"
    )
    if scores.miou_all is None:
        console.print("it was not scored: no labelled pictures came along")
    else:
        console.print(f"mIoU {scores.miou_all:.3f} on {scores.pictures} labelled pictures")
