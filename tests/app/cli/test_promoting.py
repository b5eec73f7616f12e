"""What a command says of a version."""

from types import SimpleNamespace

import pytest

from app.cli.promoting import _deletion


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
