"""What a command says of a version."""

from types import SimpleNamespace

import pytest

from app.cli.promoting import _deletion, _gate
from sats_client.models import Gate


@pytest.mark.parametrize(
    ("erasure", "waits_for", "said"),
    [
        ("waits", "task 7 to end", "waits for task 7 to end"),
        ("begun", "a worker to sign", "begun, waits for a worker to sign"),
        ("begun", None, "begun"),
        ("done", None, "done"),
    ],
)
def test_how_far_a_deletion_is(erasure: str, waits_for: str | None, said: str) -> None:
    assert _deletion(SimpleNamespace(erasure=erasure, waits_for=waits_for)) == said


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (None, None),
        (Gate(True, ()), "passed"),
        (Gate(True, ("'fish' is not measured",)), "passed; 'fish' is not measured"),
        (Gate(False, ("it forgets 'fish'", "and 'cat'")), "it forgets 'fish'; and 'cat'"),
    ],
)
def test_what_the_gate_left_unmeasured_stands_beside(gate: Gate | None, said: str | None) -> None:
    assert _gate(gate) == said
