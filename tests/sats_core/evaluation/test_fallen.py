"""What pixels fall to, counted by hand."""

from typing import Any

import numpy as np
import pytest

from sats_core.evaluation import fallen


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each model says of every picture."""
    said: dict[str, Any] = {}
    monkeypatch.setattr(fallen, "predict", lambda model, _picture, _size: said[model])
    return said


def share(gone: tuple[int, ...]) -> tuple[float | None, int]:
    count = 0

    def seen() -> None:
        nonlocal count
        count += 1

    models: Any = ("before", "after")
    pictures = [np.zeros((2, 3, 3), np.uint8)] * 2
    return fallen.to_background(*models, 32, pictures, gone, seen), count


def test_a_share_is_of_what_was_taken_for_the_class(answers: dict[str, Any]) -> None:
    answers["before"] = np.array([[1, 1, 2], [0, 3, 1]], np.uint8)
    answers["after"] = np.array([[0, 1, 1], [0, 0, 0]], np.uint8)
    assert share((1,)) == (pytest.approx(2 / 3), 2)
    assert share((1, 2)) == (pytest.approx(2 / 4), 2)


def test_none_was_taken_for_it(answers: dict[str, Any]) -> None:
    answers["before"] = answers["after"] = np.zeros((2, 3), np.uint8)
    assert share((1,)) == (None, 2)
