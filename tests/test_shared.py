"""Tests of real pictures are left out only where somebody says that there are none."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.fixtures import shared

SAID = {shared.VARIABLE: shared.ABSENT}


class Item:
    """What is looked at of a test."""

    def __init__(self, *marks: str) -> None:
        self.nodeid, self._marks = "tests/test_nothing.py::test_nothing", marks

    def get_closest_marker(self, name: str) -> bool | None:
        return name in self._marks or None

    def add_marker(self, _name: str) -> None:
        """See `pytest.Item.add_marker`."""


def test_they_are_left_out_only_where_they_are_said_not_to_be_there(tmp_path: Path) -> None:
    gone = tmp_path / "shared"
    assert shared.are_absent(SAID, gone)
    assert not shared.are_absent(SAID, tmp_path), "they are there, and are tried"
    assert not shared.are_absent({"CI": "1"}, gone), "nobody said so: it is an error"


@pytest.mark.parametrize("absent", [True, False])
def test_what_is_left_out_is_told(absent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "are_absent", lambda: absent)
    real, other = Item("real"), Item()
    items: list[Any] = [real, other]
    told: list[Any] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: told.extend(items))
    config: Any = SimpleNamespace(hook=hook)
    conftest.pytest_collection_modifyitems(config, items)
    assert set(items) == ({other} if absent else {real, other})
    assert told == ([real] if absent else [])
    assert any("left out" in line for line in conftest.pytest_report_header()) == absent


@pytest.mark.parametrize("absent", [True, False])
def test_without_them_a_test_fails_in_ci_unless_that_is_said(
    absent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "1")
    monkeypatch.setattr(shared, "SHARED", tmp_path / "shared")
    monkeypatch.setattr(shared, "are_absent", lambda: absent)
    with pytest.raises(pytest.skip.Exception if absent else pytest.fail.Exception, match="nothing"):
        shared.shared("data")
