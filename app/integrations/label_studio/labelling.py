"""Label Studio's labelling configuration: which tags draw on a picture, and with which labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

MAX_CHARACTERS = 2**20
"""Longest configuration that is read."""
KINDS = {"brushlabels": "brushlabels", "polygonlabels": "polygonlabels"}
"""Tags that are answered, in lower case, and the type of their regions."""


class LabellingError(Exception):
    """It is no labelling configuration."""


@dataclass(frozen=True)
class Control:
    """A tag that draws regions of some labels on a picture.

    Attributes:
        kind: the type of its regions, `brushlabels` or `polygonlabels`.
        from_name: the tag's name.
        to_name: name of the tag that shows the picture.
        key: where in a task's `data` the picture's address stands.
        labels: what its regions may be labelled.
    """

    kind: str
    from_name: str
    to_name: str
    key: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Labelling:
    """What a labelling configuration says.

    Attributes:
        controls: tags that draw brushes or polygons on a picture.
        pictures: by the name of the tag that shows it, where in `data` a picture's address stands.
    """

    controls: tuple[Control, ...]
    pictures: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that may be drawn, once, in the order of the configuration."""
        return tuple(dict.fromkeys(one for control in self.controls for one in control.labels))


def read_labelling(config: str) -> Labelling:
    """Read a labelling configuration.

    Raises:
        LabellingError: it is no XML without document type and entities, or too long.
    """
    if len(config) > MAX_CHARACTERS:
        raise LabellingError(f"the labelling configuration has over {MAX_CHARACTERS} characters")
    heard = _Listener()
    parser = expat.ParserCreate("utf-8")  # whatever it says of itself
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = heard.start
    parser.EndElementHandler = heard.end
    try:
        parser.Parse(config.encode(), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise LabellingError(f"the labelling configuration is no XML: {error}") from error
    return Labelling(heard.controls(), heard.pictures)


def _refuse(*_: Any) -> None:
    raise LabellingError("a labelling configuration has no document type and no entities")


class _Listener:
    """What the parser tells, turned into controls."""

    def __init__(self) -> None:
        self.pictures: dict[str, str] = {}
        self._drawing: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []

    def start(self, tag: str, values: dict[str, str]) -> None:
        name = tag.lower()
        if name == "image" and "name" in values and values.get("value", "").startswith("$"):
            self.pictures[values["name"]] = values["value"][1:]
        elif name in KINDS and {"name", "toName"} <= values.keys():
            labels: list[str] = []
            self._drawing.append((KINDS[name], values, labels))
            self._open.append((tag, labels))
        elif name == "label" and self._open:
            # What Label Studio writes into results is the alias, where there is one.
            label = values.get("alias") or values.get("value")
            if label:
                self._open[-1][1].append(label)

    def end(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self._open.pop()

    def controls(self) -> tuple[Control, ...]:
        return tuple(
            Control(kind, values["name"], to, self.pictures[to], tuple(dict.fromkeys(labels)))
            for kind, values, labels in self._drawing
            for to in values["toName"].split(",")[:1]
            if to in self.pictures
        )
