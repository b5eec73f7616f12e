"""What Label Studio posts, read piece by piece: its tasks bring all of their annotations along."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import ijson

from app.errors import BadRequestProblem, TooLargeProblem
from app.integrations.label_studio.exported import Values, texts
from app.integrations.label_studio.labelling import MAX_CHARACTERS
from sats_core.data.readers.coco_parsing import Pieces, keys, skipped
from sats_core.limits import MAX_INT32

MAX_BODY_BYTES = 512 * 2**20
"""Of a body, which lies on disk while it is read."""
MAX_TASKS = 100_000
_FAULTS = (ijson.JSONError, KeyError, TypeError, ValueError, StopIteration, RuntimeError)


@dataclass(frozen=True)
class AskedTask:
    """A task to predict.

    Attributes:
        id: its number; 0 where it has none.
        data: the texts of its `data` that may be addresses.
    """

    id: int
    data: Values


@dataclass(frozen=True)
class Asked:
    """What `/predict` is asked for."""

    tasks: tuple[AskedTask, ...]
    label_config: str


@dataclass(frozen=True)
class Told:
    """What `/webhook` is told of.

    Attributes:
        action: what was done.
        project: number of the project that it was done in; None where that is not said.
        annotations: how many it was done to.
    """

    action: str
    project: int | None
    annotations: int


def read_asked(stream: BinaryIO) -> Asked:
    """Read the body of `/predict`.

    Raises:
        BadRequestProblem: it is no such JSON.
        TooLargeProblem: it has too many tasks.
    """
    tasks: list[AskedTask] = []
    with _refused():
        config = _read_asked(stream, tasks)
    return Asked(tuple(tasks), config)


def _read_asked(stream: BinaryIO, tasks: list[AskedTask]) -> str:
    config = ""
    for key, event, value, events in _object(stream):
        if key == "tasks" and event == "start_array":
            for task in _tasks(events):
                tasks.append(task)
                if len(tasks) > MAX_TASKS:
                    raise TooLargeProblem(f"more than {MAX_TASKS} tasks in one request")
        elif key == "label_config" and isinstance(value, str):
            config = value[: MAX_CHARACTERS + 1]
        else:
            skipped(events, event)
    return config


def read_told(stream: BinaryIO) -> Told:
    """Read the body of `/webhook`.

    Raises:
        BadRequestProblem: it is no such JSON.
    """
    with _refused():
        return _read_told(stream)


def _read_told(stream: BinaryIO) -> Told:
    action, project, annotations = "", None, 0
    for key, event, value, events in _object(stream):
        if key == "action" and isinstance(value, str):
            action = value[:100]
        elif key == "project" and event == "start_map":
            project = _number(events)
        elif key == "project" and type(value) is int:
            project = value
        elif key == "annotation" and event == "start_map":
            annotations = 1
            skipped(events, event)
        elif key == "annotation" and event == "start_array":
            annotations = _count(events)
        else:
            skipped(events, event)
    if project is not None and not 0 < project <= MAX_INT32:
        project = None
    return Told(action, project, annotations)


def _object(stream: BinaryIO) -> Iterator[tuple[str, str, Any, Iterator[tuple[str, Any]]]]:
    """Yield key, event and value of an object, and the events that follow."""
    events = Pieces(stream).events()
    if next(events, None) != ("start_map", None):
        raise ValueError("it is no object")
    for key in keys(events):
        yield (key, *next(events), events)


@contextmanager
def _refused() -> Iterator[None]:
    """Turn what a parser says of a body into a problem."""
    try:
        yield
    except _FAULTS as error:
        raise BadRequestProblem(f"not what Label Studio posts: {error}"[:300]) from error


def _tasks(events: Iterator[tuple[str, Any]]) -> Iterator[AskedTask]:
    for event, _ in events:
        if event == "end_array":
            return
        if event != "start_map":
            raise ValueError("a task is no object")
        number, data = 0, Values()
        for key in keys(events):
            event, value = next(events)
            if key == "id" and type(value) is int:
                number = value
            elif key == "data" and event == "start_map":
                data = texts(events)
            else:
                skipped(events, event)
        yield AskedTask(number, data)


def _number(events: Iterator[tuple[str, Any]]) -> int | None:
    found = None
    for key in keys(events):
        event, value = next(events)
        if key == "id" and type(value) is int:
            found = value
        else:
            skipped(events, event)
    return found


def _count(events: Iterator[tuple[str, Any]]) -> int:
    count = 0
    for event, _ in events:
        if event == "end_array":
            break
        count += 1
        skipped(events, event)
    return count
