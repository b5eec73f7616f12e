"""A task's events as lines on stderr."""

import sys
from typing import Any

from sats_client.records import Event


class Printer:
    """Says what happens to a task; on a terminal progress stays on one line."""

    def __init__(self) -> None:
        self._said = ""
        self._open = False

    def __call__(self, event: Event) -> None:
        """Say it, unless it was said just now."""
        line = told(event)
        if line is None or line == self._said:
            return
        self._said = line
        passing = event.type == "task.progress" and sys.stderr.isatty()
        if passing:
            sys.stderr.write(f"\r\x1b[K{line}")
        else:
            sys.stderr.write(("\r\x1b[K" if self._open else "") + line + "\n")
        self._open = passing
        sys.stderr.flush()

    def end(self) -> None:
        """Begin a new line, where one is open."""
        if self._open:
            sys.stderr.write("\n")
        self._open = False


def told(event: Event) -> str | None:
    """Return an event in one line; None where it need not be seen."""
    data = event.data
    if event.type == "task.state":
        return data.get("outcome") or data.get("phase") or data.get("state")
    if event.type == "task.warning":
        return f"warning: {data.get('message')}"
    if event.type == "task.progress":
        return _progress(data)
    return None


def _progress(data: Any) -> str | None:
    if not data.get("steps"):
        return None
    parts = [f"{data.get('phase')}:"]
    if data.get("epochs"):
        parts.append(f"epoch {data.get('epoch')} of {data['epochs']},")
    parts.append(f"{data.get('step')} of {data['steps']}")
    if data.get("eta_seconds") is not None:
        minutes, seconds = divmod(round(data["eta_seconds"]), 60)
        parts.append(f"({minutes}:{seconds:02} left)")
    return " ".join(parts)
