"""A task's events as lines on a terminal, or in a log."""

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from sats_client.records import Event


class Printer:
    """Says what happens to a task; on a terminal progress stays on one line.

    Args:
        stream: that it is written to; default: stderr.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._said = ""
        self._open = False

    def __call__(self, event: Event) -> None:
        """Say it, unless it was said just now: a worker says what its process says again."""
        for line in lines(event):
            if line != self._said:
                self._write(line, passing=event.type == "task.progress" and self._stream.isatty())
            self._said = line

    def _write(self, line: str, *, passing: bool) -> None:
        before = "\r\x1b[K" if passing or self._open else ""
        self._stream.write(f"{before}{line}{'' if passing else chr(10)}")
        self._stream.flush()
        self._open = passing

    def end(self) -> None:
        """Begin a new line, where one is open."""
        if self._open:
            self._stream.write("\n")
        self._open = False


def lines(event: Event) -> list[str]:
    """Return how an event looks on a terminal; none for what need not be seen."""
    data = event.data
    match event.type:
        case "task.state":
            return [f"{data.get('outcome') or data.get('phase') or data.get('state')}"]
        case "task.warning":
            return [f"warning: {data.get('message')}"]
        case "task.labels":
            return [_labels(one, data.get("pictures")) for one in data.get("classes", ())]
        case "task.progress" if data.get("steps"):
            return [_progress(data)]
    return []


def _labels(of_class: Mapping[str, Any], pictures: Any) -> str:
    name = of_class.get("class", of_class.get("class_name"))  # as services of before called it
    return (
        f"labels: {name} in {of_class['pictures']} of {pictures} pictures to "
        f"train on, {of_class['share']:.1%} of their pixels"
    )


def _progress(data: Mapping[str, Any]) -> str:
    parts = [f"{data.get('phase')}:"]
    if data.get("epochs"):
        parts.append(f"epoch {data.get('epoch')} of {data['epochs']},")
    parts.append(f"{data.get('step')} of {data['steps']}")
    if data.get("eta_seconds") is not None:
        minutes, seconds = divmod(round(data["eta_seconds"]), 60)
        parts.append(f"({minutes}:{seconds:02} left)")
    return " ".join(parts)
