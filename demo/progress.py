"""A running task on the terminal: bars where there is one, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sats_client import Event

Tell = Callable[[Event], None]
_PROGRESS = ("task.progress", "task.epoch")


@contextmanager
def watching(console: Console, title: str) -> Iterator[Tell]:
    """Give what shows a task's events."""
    if not console.is_terminal:
        yield _Lines(console, title)
        return
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
    )
    console.print(f"[bold]{title}[/]")
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Move the bar of a phase; begin it where it has none."""
        data = event.data
        if event.type in _PROGRESS:
            phase = data["phase"]
            if phase not in self._bars:
                self._finish()
                self._bars[phase] = self._progress.add_task(phase, total=1.0, note="")
            done = min(1.0, data["step"] / max(1, data["steps"]))
            self._progress.update(self._bars[phase], completed=done, note=_note(data))
        elif event.type == "task.state" and data["state"] == "succeeded":
            self._finish()

    def _finish(self) -> None:
        for bar in self._bars.values():
            self._progress.update(bar, completed=1.0)


class _Lines:
    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._said: tuple[str, int] | None = None

    def __call__(self, event: Event) -> None:
        """Print a line where a task enters a phase, and one an epoch."""
        data = event.data
        if event.type in _PROGRESS:
            self._say(data["phase"], data["epoch"], _note(data))
        elif event.type == "task.state":
            self._say(data["outcome"] or data["phase"] or data["state"], 0, "")

    def _say(self, what: str, epoch: int, note: str) -> None:
        if (what, epoch) != self._said:
            line = f"{self._title}: {what}  {note}".rstrip()
            self._console.print(line, highlight=False, soft_wrap=True)
        self._said = what, epoch


def _note(progress: Mapping[str, Any]) -> str:
    parts = []
    if progress["epochs"]:
        parts.append(f"epoch {progress['epoch']}/{progress['epochs']}")
    parts += [f"{name} {value:.3f}" for name, value in (progress["losses"] or {}).items()]
    if progress["rate"]:
        parts.append(f"{progress['rate']:.0f} pictures/s")
    if progress["eta_seconds"] is not None:
        minutes, seconds = divmod(round(progress["eta_seconds"]), 60)
        parts.append(f"{minutes}:{seconds:02} left")
    return "  ".join(parts)
