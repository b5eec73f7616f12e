"""Pictures and masks in two folders, and a class list in JSON."""

import json
from typing import Any, ClassVar

from sats_core.classes import Colour
from sats_core.data.readers.base import at_fault, no_class_list
from sats_core.data.readers.class_list import MAX_LIST_BYTES, ClassList, indexed_classes
from sats_core.data.readers.paired import PairedReader
from sats_core.data.sources import Source

CLASS_LIST = "classes.json"


class PairsReader(PairedReader):
    """images/NAME.jpg, masks/NAME.png and classes.json; splits are folders inside the two.

    `classes.json` is `{"1": "cat"}`, `{"cat": 1}`, a list of names in the order of their indices
    (the first is background), or a list of `{"index": 1, "name": "cat", "color": "#ff0000"}`.
    Masks hold indices, or RGB in the classes' colours (VOC's where none are given).
    """

    layout: ClassVar[str] = (
        "pictures and masks (images/, masks/*.png, classes.json, optionally train/ and val/ "
        "inside both folders)"
    )
    pictures = "images/"
    masks = "masks/"

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return CLASS_LIST in source.names()

    def _class_list(self) -> ClassList:
        if CLASS_LIST not in self.source.names():
            raise no_class_list(CLASS_LIST)
        entries, colours = json_entries(self.source.read(CLASS_LIST, MAX_LIST_BYTES), CLASS_LIST)
        return indexed_classes(entries, CLASS_LIST, colours)


def json_entries(data: bytes, file: str) -> tuple[list[tuple[int, str]], dict[int, Colour]]:
    """Return index and name of a JSON list of classes, and colours by index where it has some.

    Raises:
        DatasetError: not such a list.
    """
    try:
        return _entries(json.loads(data), file)
    except (ValueError, RecursionError) as error:
        raise at_fault("not JSON", file, code="unreadable") from error


def _entries(listed: Any, file: str) -> tuple[list[tuple[int, str]], dict[int, Colour]]:
    colours: dict[int, Colour] = {}
    entries: list[tuple[int, str]] = []
    if isinstance(listed, dict):
        for key, value in listed.items():
            # Either way round: {"1": "cat"} or {"cat": 1}.
            index, name = (key, value) if isinstance(value, str) else (value, key)
            entries.append((_index(index, file), name))
    elif isinstance(listed, list):
        for position, entry in enumerate(listed):
            if isinstance(entry, str):
                entries.append((position, entry))
                continue
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise at_fault(f"entry {position} has no `name`", file)
            index = _index(entry.get("index", entry.get("id", position)), file)
            entries.append((index, entry["name"]))
            if (colour := entry.get("color", entry.get("colour"))) is not None:
                colours[index] = _colour(colour, entry["name"], file)
    else:
        raise at_fault("neither an object nor a list", file)
    return entries, colours


def _index(value: Any, file: str) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise at_fault(f"{value!r} is no index", file)


def _colour(value: Any, name: str, file: str) -> Colour:
    if isinstance(value, str) and len(value) == 7 and value.startswith("#"):
        try:
            red, green, blue = bytes.fromhex(value[1:])
        except ValueError as error:
            raise at_fault(f"{value!r} is no colour", file, name) from error
        return red, green, blue
    if (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(part, int) and 0 <= part <= 255 for part in value)
    ):
        return value[0], value[1], value[2]
    raise at_fault(f"{value!r} is no colour: #rrggbb or three numbers", file, name)
