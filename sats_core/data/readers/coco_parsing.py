"""COCO JSON as a stream of entries, none of which is built beyond a bound."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import ijson

from sats_core.data.readers.coco_shapes import MAX_POINTS, MAX_TEXT

MAX_VALUES = MAX_POINTS + 10_000
"""Most names and values of one entry: the numbers of a shape, and room for what stands around."""
MAX_DEPTH = 20
"""How deep an entry may be nested; COCO needs four."""
_LISTS = ("images", "annotations", "categories")
_OPENING = ("start_map", "start_array")
_CLOSING = ("end_map", "end_array")


def entries(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Yield list and entry of all entries of the three lists, one at a time, in any order.

    Raises:
        ijson.JSONError, ValueError: no JSON, or an entry or a token that is larger than COCO's are.
    """
    pieces = Pieces(stream)
    events = pieces.events()
    depth = 0
    name = ""
    for event, value in events:
        if depth == 1 and event == "map_key":
            name = value
        elif depth == 2 and event == "start_map" and name in _LISTS:
            yield name, built(events)
            continue
        depth += (event in _OPENING) - (event in _CLOSING)


def built(events: Iterator[tuple[str, Any]], most: int = MAX_VALUES) -> Any:
    """Return the object that has just begun.

    Raises:
        ValueError: it has more than `most` values, or is larger than COCO's otherwise.
    """
    builder = ijson.ObjectBuilder()
    builder.event("start_map", None)
    depth, values, text = 1, most, MAX_TEXT + 10_000
    while depth:
        event, value = next(events)
        depth += (event in _OPENING) - (event in _CLOSING)
        values -= event not in _CLOSING
        text -= len(value) if isinstance(value, str) else 0
        if values < 0:
            named = MAX_POINTS if most == MAX_VALUES else most
            raise ValueError(f"an entry has more than {named} numbers")
        if text < 0:
            raise ValueError(f"an entry has more than {MAX_TEXT} characters")
        if depth > MAX_DEPTH:
            raise ValueError(f"an entry is nested deeper than {MAX_DEPTH}")
        builder.event(event, value)
    return builder.value


def skipped(events: Iterator[tuple[str, Any]], event: str) -> None:
    """Read over the rest of a value that began with `event`.

    Raises:
        ValueError: it is nested deeper than COCO's are.
    """
    depth = int(event in _OPENING)
    while depth:
        event, _ = next(events)
        depth += (event in _OPENING) - (event in _CLOSING)
        if depth > MAX_DEPTH:
            raise ValueError(f"an entry is nested deeper than {MAX_DEPTH}")


def keys(events: Iterator[tuple[str, Any]]) -> Iterator[str]:
    """Yield the keys of the object that has just begun; the caller reads each value."""
    for event, value in events:
        if event == "end_map":
            return
        yield value


class Pieces:
    """A stream that ends in an error where a single token is longer than any of COCO's.

    The parser gathers a token, however long, before it says a word of it. So what it takes between
    two words is counted.
    """

    def __init__(self, stream: BinaryIO, most: int = MAX_TEXT, buffer: int = 2**16) -> None:
        self._stream = stream
        self._most = most
        self._buffer = buffer
        self._silent = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, for the parser."""
        self._silent += size
        if self._silent > self._most + max(2**20, 2 * self._buffer):
            raise ValueError(f"a value has more than {self._most} characters")
        return self._stream.read(size)

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield what the parser says: event and value."""
        for event in ijson.basic_parse(self, buf_size=self._buffer, use_float=True):
            self._silent = 0
            yield event
