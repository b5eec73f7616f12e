"""CVAT's XML as a stream of what it says. Its parser knows no entities and no document type."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.parsers import expat

from sats_core.data.readers.coco_shapes import MAX_POINTS, MAX_TEXT
from sats_core.data.readers.shape_index import Ignored, Named, Pictured, Said, Shape

MAX_NAME = 1000
MAX_LABELS = 10_000
MAX_DEPTH = 20
"""How deep elements may be nested; CVAT needs eight."""
MAX_TAG = 2 * MAX_TEXT + 2**20
"""Most bytes of one tag: the parser gathers it whole, and looks at it again as it doubles."""
DRAWN = {"polygon": ("points",), "mask": ("rle", "left", "top", "width", "height")}
"""Shapes that are read, and what they are made of."""
_PIECE = 2**16


def cvat_says(stream: BinaryIO) -> Iterator[Said]:
    """Yield what an XML file of *CVAT for images 1.1* says.

    Raises:
        expat.ExpatError, ValueError: no such file, or a tag that is larger than CVAT's are.
    """
    heard = _Listener()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    parser.StartElementHandler = heard.start
    parser.EndElementHandler = heard.end
    parser.CharacterDataHandler = heard.text
    while piece := stream.read(_PIECE):
        heard.silent += len(piece)
        parser.Parse(piece, False)
        yield from heard.taken()
        if heard.silent > MAX_TAG:
            raise ValueError(f"a tag has more than {MAX_TAG} bytes")
    parser.Parse(b"", True)
    yield from heard.taken()


def _refuse(*_: Any) -> int:
    raise ValueError("document types and entities are not read")


class _Listener:
    """What the parser tells, turned into what the file says."""

    def __init__(self) -> None:
        self.silent = 0
        self._path: list[str] = []
        self._said: list[Said] = []
        self._name: str | None = None
        self._labels = 0
        self._number = -1

    def taken(self) -> list[Said]:
        said, self._said = self._said, []
        return said

    def start(self, tag: str, values: dict[str, str]) -> None:
        self.silent = 0
        path = self._path
        if not path and tag != "annotations":
            raise ValueError(f"it begins with <{tag[:50]}>, not with <annotations>")
        if len(path) == 1 and tag == "track":
            raise ValueError("it is of CVAT for video: export it as CVAT for images 1.1")
        if len(path) == 1 and tag == "image":
            self._picture(values)
        elif len(path) == 2 and path[1] == "image":
            self._shape(tag, values)
        elif path[1:2] == ["meta"] and path[-2:] == ["labels", "label"] and tag == "name":
            self._name = ""
        path.append(tag)
        if len(path) > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH}")

    def end(self, _tag: str) -> None:
        self.silent = 0
        self._path.pop()
        if self._name is not None:
            self._labels += 1
            if self._labels > MAX_LABELS:
                raise ValueError(f"more than {MAX_LABELS} labels")
            self._said.append(Named(_checked(self._name)))
            self._name = None

    def text(self, text: str) -> None:
        self.silent = 0
        if self._name is not None:
            self._name += text
            if len(self._name) > MAX_NAME:
                raise ValueError(f"a name has 1 to {MAX_NAME} characters")

    def _picture(self, values: dict[str, str]) -> None:
        self._number += 1
        name = _checked(_given(values, "name", "an image"))
        height, width = (_size(_given(values, key, f"image {name}")) for key in ("height", "width"))
        subset = values.get("subset", "")[:MAX_NAME]
        self._said.append(Pictured(self._number, 0, name, height, width, subset or None))

    def _shape(self, tag: str, values: dict[str, str]) -> None:
        if tag not in DRAWN:
            self._said.append(Ignored(tag[:MAX_NAME]))
            return
        called = _checked(_given(values, "label", f"a {tag}"))
        made_of = [_given(values, key, f"a {tag} of {called}") for key in DRAWN[tag]]
        if sum(map(len, made_of)) > MAX_TEXT:
            raise ValueError(f"a {tag} has more than {MAX_TEXT} characters")
        if max(text.count(",") for text in made_of) > MAX_POINTS:
            raise ValueError(f"a {tag} has more than {MAX_POINTS} numbers")
        level = float(values.get("z_order", "0")[:20])
        self._said.append(Shape(self._number, 0, called, level, tag, json.dumps(made_of)))


def _given(values: dict[str, str], key: str, whose: str) -> str:
    if key not in values:
        raise ValueError(f"{whose} has no `{key}`")
    return values[key]


def _checked(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"a name has 1 to {MAX_NAME} characters")
    return name


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ValueError(f"{text[:50]!r} is no size in pixels")
    return int(text)
