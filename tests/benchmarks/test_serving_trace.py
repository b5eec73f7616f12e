"""Where a lone request's milliseconds go: the stages add up to the whole."""

import shlex
import sys
from pathlib import Path

import pytest
import typer

from benchmarks.serving_trace import BETWEEN, COMPUTED, FRONT, WHOLE, main, stages


def test_what_is_left_is_what_no_stage_has() -> None:
    parts = {"decode": (2.0, 1.0), "run": (50.0, 90.0)}
    found = stages(parts, (1.0, 0.5), (3.0, 2.0), (60.0, 98.0))
    named = {one["stage"]: one for one in found}
    assert (named[FRONT]["ms"], named[FRONT]["cpu_ms"]) == (2.0, 1.5)
    assert (named[BETWEEN]["ms"], named[BETWEEN]["cpu_ms"]) == (5.0, 5.0)
    assert named[WHOLE]["share"] == 1.0
    assert sum(one["ms"] for one in found) == pytest.approx(2 * named[WHOLE]["ms"])


def test_a_real_request_is_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--size", "64", "--seconds", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["serving_trace.py", *options])
    with pytest.raises(SystemExit, match="0"):
        typer.run(main)
    text = (tmp_path / "serving_trace.md").read_text()
    assert f"`python -m benchmarks.serving_trace {shlex.join(options)}`" in text
    assert all(f"| {stage} |" in text for stage in (*COMPUTED, FRONT, BETWEEN, WHOLE))
