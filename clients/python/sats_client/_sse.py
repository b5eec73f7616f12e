"""Server-Sent Events, as the HTML standard spells them."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One event.

    Attributes:
        id: of the last event that had one.
        event: its type.
        data: its lines.
    """

    id: str
    event: str
    data: str


class Parser:
    """Reads a stream piece by piece; an event that is cut off is none.

    Attributes:
        last_id: id of the last whole event, for `Last-Event-ID`.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._clear()

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Yield the events that end in the next piece."""
        text = self._rest + self._decode(chunk)
        # A carriage return at the end may be half of a line's end.
        held = text.endswith("\r")
        lines = text[: -1 if held else None].replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop() + ("\r" if held else "")
        for line in lines:
            if line:
                self._field(line)
            else:
                yield from self._event()

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")  # a comment has no name
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _event(self) -> Iterator[Message]:
        self.last_id = self._id
        if self._data:
            yield Message(self.last_id, self._type or "message", "\n".join(self._data))
        self._clear()

    def _clear(self) -> None:
        self._data: list[str] = []
        self._type = ""
        self._id = self.last_id
