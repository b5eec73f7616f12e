"""Following events, for the tests."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from sqlalchemy import Engine

from app.db import Task, TaskEvent, TaskState, write_session

PATIENCE = 60

Told = tuple[int, str, dict[str, Any]]
"""Of an event its id, its type and what it tells."""


def tell(
    engine: Engine, task_id: str, kind: str, state: TaskState | None = None, **data: Any
) -> None:
    """Write an event, as a worker would."""
    with write_session(engine) as session:
        if state is not None:
            session.get_one(Task, task_id).state = state
            data["state"] = state
        session.add(TaskEvent(task_id=task_id, kind=kind, data=data))


def events(answer: httpx.Response) -> Iterator[Told]:
    """Yield the events of a stream as they come."""
    told: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            told[name] = value
        elif "event" in told:
            whole = json.loads(told["data"])
            assert (whole["id"], whole["type"]) == (told["id"], told["event"])
            assert whole["at"].endswith("Z")
            yield int(told["id"]), told["event"], whole["data"]
            told = {}


@contextmanager
def following(url: str, task_id: str) -> Iterator[Iterator[Told]]:
    """Follow a task and take its first event; whoever forgets the iterator hangs up."""
    with httpx.stream("GET", f"{url}/tasks/{task_id}/events", timeout=PATIENCE) as answer:
        told = events(answer)
        next(told)
        yield told


def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
