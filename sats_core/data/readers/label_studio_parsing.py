"""Label Studio's JSON export as a stream of what it says, one region at a time."""

import json
import posixpath
from collections.abc import Iterator
from typing import Any, BinaryIO

from sats_core.data.readers.brush import MAX_BYTES
from sats_core.data.readers.coco_parsing import Pieces, built, keys, skipped
from sats_core.data.readers.coco_shapes import MAX_POINTS
from sats_core.data.readers.picture_files import is_picture
from sats_core.data.readers.shape_index import Ignored, Pictured, Said, Shape
from sats_core.limits import MAX_INT32

MAX_NAME = 1000
NAMING = ("brushlabels", "polygonlabels", "labels")
"""Where a region's class stands, by the tag that it was drawn with."""


def label_studio_says(stream: BinaryIO) -> Iterator[Said]:
    """Yield what a file of `exportType=JSON` says.

    Of a picture's annotations the ground truth counts, else the first that was not cancelled; a
    picture without one is not yielded.

    Raises:
        ijson.JSONError, KeyError, TypeError, ValueError: no such file, or a part of it that is
            larger than Label Studio's are.
    """
    events = Pieces(stream).events()
    if next(events, None) != ("start_array", None):
        raise ValueError("it is no list of tasks")
    for number, (event, _) in enumerate(events):
        if event == "end_array":
            break
        if event != "start_map":
            raise ValueError("a task is no object")
        yield from _Task(number, events).said()


class _Task:
    """One task, read event by event."""

    def __init__(self, number: int, events: Iterator[tuple[str, Any]]) -> None:
        self._number = number
        self._events = events
        self._name: str | None = None
        self._size: tuple[int, int] | None = None
        self._chosen: tuple[bool, int] | None = None

    def said(self) -> Iterator[Said]:
        for key in keys(self._events):
            event, value = next(self._events)
            if key == "annotations" and event == "start_array":
                yield from self._annotations()
            elif key == "data" and event == "start_map":
                data = built(self._events)
                self._name = self._name or _picture(data)
            elif key == "file_upload" and isinstance(value, str) and value:
                self._name = _named(value)
            else:
                skipped(self._events, event)
        if self._chosen is None:
            return
        if self._name is None:
            raise ValueError(f"task {self._number + 1} names no picture in its `data`")
        height, width = self._size or (None, None)
        yield Pictured(self._number, self._chosen[1], self._name, height, width, None)

    def _annotations(self) -> Iterator[Said]:
        for part, (event, _) in enumerate(self._events):
            if event == "end_array":
                return
            if event != "start_map":
                raise ValueError("an annotation is no object")
            cancelled = truth = False
            for key in keys(self._events):
                event, value = next(self._events)
                if key == "result" and event == "start_array":
                    yield from self._regions(part)
                    continue
                cancelled |= key == "was_cancelled" and value is True
                truth |= key == "ground_truth" and value is True
                skipped(self._events, event)
            if not cancelled and (self._chosen is None or (truth and not self._chosen[0])):
                self._chosen = truth, part

    def _regions(self, part: int) -> Iterator[Said]:
        for event, _ in self._events:
            if event == "end_array":
                return
            if event != "start_map":
                raise ValueError("a region is no object")
            yield self._region(built(self._events, MAX_BYTES), part)

    def _region(self, region: dict[str, Any], part: int) -> Said:
        value = region.get("value")
        if not isinstance(value, dict) or not ("rle" in value or "points" in value):
            return Ignored(str(region.get("type"))[:MAX_NAME])
        labels = next((value[key] for key in NAMING if value.get(key)), None)
        if labels is None:
            return Ignored(f"{region.get('type')} without a label"[:MAX_NAME])
        if not isinstance(labels, list) or len(labels) != 1:
            said = str(labels)[:100]
            raise ValueError(f"a region has the labels {said}; a pixel has one class")
        if region.get("image_rotation"):
            raise ValueError("a region of a picture that was rotated; rotate the picture itself")
        size = _whole(region.get("original_height")), _whole(region.get("original_width"))
        if self._size not in (None, size):
            raise ValueError(f"task {self._number + 1} has regions of pictures of two sizes")
        self._size = size
        kind, body = _body(value)
        return Shape(self._number, part, _named(labels[0]), 0, kind, body)


def _body(value: dict[str, Any]) -> tuple[str, str | bytes]:
    if "rle" in value:
        if value.get("format", "rle") != "rle" or not isinstance(value["rle"], list):
            raise ValueError("a brush is a list of bytes of `format` rle")
        return "brush", bytes(value["rle"])
    points = value["points"]
    if not isinstance(points, list) or 2 * len(points) > MAX_POINTS:
        raise ValueError(f"the points of a polygon are a list of up to {MAX_POINTS} numbers")
    return "polygon", json.dumps(points)


def _picture(data: dict[str, Any]) -> str | None:
    """Return the one value that names a picture, from the way to it or its address."""
    if isinstance(data.get("image"), str):
        return _named(data["image"])
    values = [value for value in data.values() if isinstance(value, str)]
    found = [value for value in values if is_picture(_path(value))]
    return _named(found[0]) if len(found) == 1 else None


def _path(address: str) -> str:
    return posixpath.basename(address.partition("?")[0])


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 < value <= MAX_INT32:
        raise ValueError(f"{str(value)[:50]!r} is no size in pixels")
    return value


def _named(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"a name has 1 to {MAX_NAME} characters")
    value.encode()  # half a character is a ValueError, and no name
    return value
