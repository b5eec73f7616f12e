"""A project's export, one task at a time, as the reader of Label Studio's JSON takes it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from sats_core.data.readers.brush import MAX_BYTES
from sats_core.data.readers.coco_parsing import Pieces, built, keys, skipped

MAX_VALUES = 4 * MAX_BYTES
"""Most numbers of one annotation: its brushes are lists of bytes."""
_READ = ("result", "was_cancelled", "ground_truth")
MAX_ADDRESS = 8192
"""Longest text of a task's `data` that is kept; an address is shorter."""

Values = dict[str, str]


@dataclass(frozen=True)
class ExportedTask:
    """A task with annotations.

    Attributes:
        id: its number in Label Studio.
        data: the texts of its `data` that may be addresses.
        annotations: what the reader needs of them.
    """

    id: int
    data: Values
    annotations: list[dict[str, Any]]

    def of_picture(self, shown_by: str) -> "ExportedTask":
        """Return it with the regions of one picture alone, by the tag that shows it."""
        annotations = [
            one | {"result": [r for r in _regions(one) if _is_of(r, shown_by)]}
            for one in self.annotations
        ]
        return replace(self, annotations=annotations)

    @property
    def is_empty(self) -> bool:
        """Whether somebody has looked and found nothing: all of it is background."""
        counting = [one for one in self.annotations if not one.get("was_cancelled")]
        return bool(counting) and not any(one["result"] for one in counting)

    def body(self, file: str) -> bytes:
        """Return it as JSON, its picture in `file`."""
        task = {"id": self.id, "data": {"image": file}, "annotations": self.annotations}
        return json.dumps(task).encode()


def exported_tasks(stream: BinaryIO) -> Iterator[ExportedTask]:
    """Yield the tasks of an `exportType=JSON`.

    Raises:
        ijson.JSONError, KeyError, TypeError, ValueError, StopIteration: no such file, or a part of
            it that is larger than Label Studio's are.
    """
    events = Pieces(stream).events()
    if next(events, None) != ("start_array", None):
        raise ValueError("it is no list of tasks")
    for event, _ in events:
        if event == "end_array":
            return
        if event != "start_map":
            raise ValueError("a task is no object")
        yield _task(events)


def texts(events: Iterator[tuple[str, Any]]) -> Values:
    """Return the short texts of the object that has just begun; the rest is read over."""
    found: Values = {}
    for key in keys(events):
        event, value = next(events)
        if isinstance(value, str) and len(value) <= MAX_ADDRESS:
            found[key] = value
        else:
            skipped(events, event)
    return found


def _task(events: Iterator[tuple[str, Any]]) -> ExportedTask:
    number, data, annotations = 0, Values(), list[dict[str, Any]]()
    for key in keys(events):
        event, value = next(events)
        if key == "id" and type(value) is int:
            number = value
        elif key == "data" and event == "start_map":
            data = texts(events)
        elif key == "annotations" and event == "start_array":
            annotations = list(_annotations(events))
        else:
            skipped(events, event)
    if not 0 < number < 2**63:
        raise ValueError("a task without a number")
    return ExportedTask(number, data, annotations)


def _annotations(events: Iterator[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    for event, _ in events:
        if event == "end_array":
            return
        if event != "start_map":
            raise ValueError("an annotation is no object")
        whole = built(events, MAX_VALUES)
        yield {key: whole[key] for key in _READ if key in whole}


def _regions(annotation: Mapping[str, Any]) -> list[Any]:
    found = annotation.get("result")
    return found if isinstance(found, list) else []


def _is_of(region: object, shown_by: str) -> bool:
    return not isinstance(region, Mapping) or region.get("to_name", shown_by) == shown_by
