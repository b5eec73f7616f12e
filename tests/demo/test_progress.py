import io

import pytest
from rich.console import Console

from demo.progress import watch


def _task(
    state: str, phase: str | None = None, outcome: str | None = None, **progress: object
) -> dict[str, object]:
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
    told = {"state": state, "phase": phase, "outcome": outcome}
    return told | {"progress": empty | progress if progress else None}


STATES = [
    _task("queued"),
    _task("running", "validating", step=5, steps=10),
    _task(
        "running",
        "training",
        epoch=1,
        epochs=3,
        step=7,
        steps=21,
        losses={"cross_entropy": 0.5},
        rate=40,
    ),
    _task("running", "training", epoch=2, epochs=3, step=14, steps=21, losses={}, eta_seconds=61.4),
    _task("running", "evaluating", step=3, steps=3),
    _task("succeeded", outcome="live"),
]


@pytest.mark.parametrize("terminal", [True, False])
def test_every_phase_is_shown(terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    assert watch(console, "learn fish", STATES)["outcome"] == "live"
    said = out.getvalue()
    for word in ("learn fish", "training", "evaluating", "epoch 2/3", "1:01 left"):
        assert word in said


def test_plain_lines_are_said_once_an_epoch():
    out = io.StringIO()
    watch(
        Console(file=out, force_terminal=False, width=120), "learn", [STATES[2]] * 5 + [STATES[3]]
    )
    assert len(out.getvalue().splitlines()) == 2
