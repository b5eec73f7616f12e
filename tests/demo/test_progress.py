import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from demo.progress import watching
from sats_client import Event


def _event(kind: str, **data: object) -> Event:
    return Event("1", f"task.{kind}", datetime.now(UTC), "id", "default", data)


def _state(state: str, phase: str | None = None, outcome: str | None = None) -> Event:
    return _event("state", state=state, phase=phase, outcome=outcome)


def _progress(phase: str, **progress: object) -> Event:
    empty = {
        "phase": phase,
        "epoch": 0,
        "epochs": 0,
        "step": 0,
        "steps": 0,
        "losses": {},
        "learning_rate": None,
        "rate": None,
        "eta_seconds": None,
    }
    return _event("progress", **(empty | progress))


TRAINING = _progress(
    "training", epoch=1, epochs=3, step=7, steps=21, losses={"cross_entropy": 0.5}, rate=40
)
LATER = _progress("training", epoch=2, epochs=3, step=14, steps=21, eta_seconds=61.4)
EVENTS = [
    _state("running", phase="validating"),
    _progress("validating", step=5, steps=10),
    _event("warning", message="few pictures"),
    TRAINING,
    LATER,
    _progress("evaluating", step=3, steps=3),
    _state("succeeded", outcome="live"),
]


@pytest.mark.parametrize("terminal", [True, False])
def test_every_phase_is_shown(terminal):
    out = io.StringIO()
    with watching(Console(file=out, force_terminal=terminal, width=120), "learn fish") as tell:
        for event in EVENTS:
            tell(event)
    said = out.getvalue()
    for word in ("learn fish", "training", "evaluating", "epoch 2/3", "1:01 left"):
        assert word in said


def test_plain_lines_are_said_once_an_epoch():
    out = io.StringIO()
    with watching(Console(file=out, force_terminal=False, width=120), "learn") as tell:
        for event in [TRAINING] * 5 + [LATER]:
            tell(event)
    assert len(out.getvalue().splitlines()) == 2
