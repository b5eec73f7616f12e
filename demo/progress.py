"""A running task on the terminal: bars where there is one, plain lines elsewhere."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

Task = dict[str, Any]


def watch(console: Console, title: str, states: Iterable[Task]) -> Task:
    """Show the successive states of a task until it ends; returns the last."""
    show = _bars if console.is_terminal else _lines
    return show(console, title, states)


def _bars(console: Console, title: str, states: Iterable[Task]) -> Task:
    task: Task = {}
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
    )
    console.print(f"[bold]{title}[/]")
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}
        for task in states:
            if task["progress"] is None:
                continue
            phase = task["progress"]["phase"]
            if phase not in bars:
                _finish(progress, bars)
                bars[phase] = progress.add_task(phase, total=1.0, note="")
            done = _share_done(task["progress"])
            progress.update(bars[phase], completed=done, note=_note(task["progress"]))
        if task["state"] == "succeeded":
            _finish(progress, bars)
    return task


def _finish(progress: Progress, bars: dict[str, TaskID]) -> None:
    for bar in bars.values():
        progress.update(bar, completed=1.0)


def _lines(console: Console, title: str, states: Iterable[Task]) -> Task:
    task: Task = {}
    said = None
    for task in states:
        progress = task["progress"]
        here = task["phase"] or task["outcome"] or task["state"]
        now = (here, progress and progress["epoch"])
        if now != said:
            current = progress and progress["phase"] == here
            note = _note(progress) if current else ""
            line = f"{title}: {here}  {note}".rstrip()
            console.print(line, highlight=False, soft_wrap=True)
            said = now
    return task


def _share_done(progress: dict[str, Any]) -> float:
    steps: int = progress["steps"]
    done: int = progress["step"]
    return min(1.0, done / max(1, steps))


def _note(progress: dict[str, Any]) -> str:
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
