"""How JSON files begin: that tells their layouts apart before any is read whole."""

from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

import ijson

from sats_core.data.sources import Source

_BYTES = 64 * 2**10
_MOST_FILES = 20


class JsonStart(NamedTuple):
    """The beginning of a JSON file: whether it is a list, and the keys of its first object."""

    listed: bool
    keys: frozenset[str]


def json_starts(source: Source) -> Iterator[JsonStart]:
    """Yield how the data set's JSON files begin, the first twenty of them."""
    files = [name for name in source.names() if name.endswith(".json")]
    for file in files[:_MOST_FILES]:
        with source.stream(file) as stream:
            yield _start(stream.read(_BYTES))


def _start(head: bytes) -> JsonStart:
    keys: set[str] = set()
    listed, depth = False, 0
    try:
        # Without `use_float` a number of 5,000 digits that is cut off ends the process.
        events = ijson.basic_parse(BytesIO(head), use_float=True)
        for number, (event, value) in enumerate(events):
            listed = listed or (number == 0 and event == "start_array")
            if event == "map_key" and depth == 1 + listed:
                keys.add(value)
            depth += event.startswith("start_")
            depth -= event.startswith("end_")
            if event == "end_map" and depth == listed:
                break
    except (ijson.JSONError, ValueError):  # cut off, or no JSON: what came before is what there is
        pass
    return JsonStart(listed, frozenset(keys))
