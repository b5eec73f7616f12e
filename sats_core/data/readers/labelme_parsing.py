"""Files that hold the shapes of one picture each, LabelMe's and Supervisely's, piece by piece."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from sats_core.data.readers.coco_parsing import Pieces, built, keys, skipped
from sats_core.limits import MAX_INT32

MAX_NAME = 1000
MAX_EMBEDDED = 32 * 2**20
"""Most characters of a picture inside its annotation; it is read over."""
_BUFFER = 2**20
"""The parser looks at a long value from its start again for every buffer."""


def document(stream: BinaryIO, listed: str) -> Iterator[tuple[str, Any]]:
    """Yield key and value of a JSON object, of one list entry by entry.

    Args:
        stream: of the file.
        listed: key of the list whose entries, all objects, are yielded one at a time under that
            key; other lists are read over.

    Raises:
        ijson.JSONError, ValueError: no such file, or an entry that is too large.
    """
    events = Pieces(stream, MAX_EMBEDDED, _BUFFER).events()
    if next(events, None) != ("start_map", None):
        raise ValueError("it is no object")
    found = False
    for key in keys(events):
        event, value = next(events)
        if key == listed:
            if event != "start_array":
                raise ValueError(f"its `{listed}` are no list")
            found = True
            yield from _entries(events, listed)
        elif event == "start_map":
            yield key, built(events)
        else:
            yield key, value
            skipped(events, event)
    if not found:
        raise ValueError(f"it has no list `{listed}`")


def _entries(events: Iterator[tuple[str, Any]], listed: str) -> Iterator[tuple[str, Any]]:
    for event, _ in events:
        if event == "end_array":
            return
        if event != "start_map":
            raise ValueError(f"an entry of `{listed}` is no object")
        yield listed, built(events)


def text(value: Any) -> str:
    """Return a name.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"a name has 1 to {MAX_NAME} characters")
    return value


def size(height: Any, width: Any) -> tuple[int, int] | None:
    """Return a picture's size; None where neither is there.

    Raises:
        ValueError: it is none.
    """
    if height is None and width is None:
        return None
    for value in (height, width):
        if type(value) is not int or not 0 < value <= MAX_INT32:
            raise ValueError(f"{str(value)[:50]!r} is no size in pixels")
    return height, width


def ring(points: Any) -> list[float]:
    """Return a polygon `[x, y, x, y, ...]` from points `[[x, y], ...]`.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(points, list):
        raise TypeError("the points of a polygon are a list")
    flat: list[float] = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise ValueError("a point is two numbers")
        flat += point
    return flat
