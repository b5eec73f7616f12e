"""A task's events on a terminal and in a log."""

import io
from datetime import UTC, datetime
from typing import Any

from sats_client import Event
from sats_client.printing import Printer, lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def event(kind: str, **data: Any) -> Event:
    return Event("1", f"task.{kind}", datetime.now(UTC), "a", "default", data)


PROGRESS = event("progress", phase="training", epoch=2, epochs=30, step=4, steps=9, eta_seconds=61)
LABELS = event(
    "labels",
    pictures=4,
    classes=[
        {"class": "cat", "pictures": 3, "share": 0.25},
        {"class": "dog", "pictures": 1, "share": 0.001},
    ],
)


def told(stream: io.StringIO, *events: Event) -> str:
    printer = Printer(stream)
    for one in events:
        printer(one)
    printer.end()
    return stream.getvalue()


def test_events_are_lines():
    assert lines(event("state", state="running", phase="training")) == ["training"]
    assert lines(event("state", state="succeeded", phase=None, outcome="held")) == ["held"]
    assert lines(event("warning", message="mind the step")) == ["warning: mind the step"]
    assert lines(PROGRESS) == ["training: epoch 2 of 30, 4 of 9 (1:01 left)"]
    assert lines(event("progress", phase="validating", step=0, steps=0)) == []
    assert lines(event("dream", of="sheep")) == []
    assert lines(LABELS) == [
        "labels: cat in 3 of 4 pictures to train on, 25.0% of their pixels",
        "labels: dog in 1 of 4 pictures to train on, 0.1% of their pixels",
    ]


def test_a_service_of_before_called_a_class_otherwise():
    labelled = {"class_name": "cat", "pictures": 3, "share": 0.25}
    assert lines(event("labels", pictures=4, classes=[labelled])) == [
        "labels: cat in 3 of 4 pictures to train on, 25.0% of their pixels"
    ]


def test_a_log_has_a_line_for_each_and_none_twice():
    again = event("state", state="running", phase="training")
    assert told(io.StringIO(), again, again, PROGRESS).splitlines() == [
        "training",
        "training: epoch 2 of 30, 4 of 9 (1:01 left)",
    ]


def test_on_a_terminal_progress_stays_on_one_line():
    said = told(Terminal(), PROGRESS, event("progress", phase="training", step=5, steps=9), LABELS)
    assert said.replace("\r\x1b[K", "<").replace("\n", ">") == (
        f"<training: epoch 2 of 30, 4 of 9 (1:01 left)<training: 5 of 9<{'>'.join(lines(LABELS))}>"
    )


def test_an_open_line_is_ended():
    assert told(Terminal(), PROGRESS).endswith("left)\n")
