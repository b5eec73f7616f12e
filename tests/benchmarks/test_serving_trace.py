"""Where a lone request's milliseconds go: the stages add up to the whole."""

from pathlib import Path

import pytest

from benchmarks.serving_trace import BETWEEN, COMPUTED, FRONT, WHOLE, main, stages


def test_what_is_left_is_what_no_stage_has() -> None:
    parts = {"decode": (2.0, 1.0), "run": (50.0, 90.0)}
    found = stages(parts, (1.0, 0.5), (3.0, 2.0), (60.0, 98.0))
    named = {one["stage"]: one for one in found}
    assert (named[FRONT]["ms"], named[FRONT]["cpu_ms"]) == (2.0, 1.5)
    assert (named[BETWEEN]["ms"], named[BETWEEN]["cpu_ms"]) == (5.0, 5.0)
    assert named[WHOLE]["share"] == 1.0
    assert sum(one["ms"] for one in found) == pytest.approx(2 * named[WHOLE]["ms"])


def test_a_real_request_is_traced(tmp_path: Path) -> None:
    main(size=[64], backbone=["mit_b0"], seconds=1.0, threads=1, out=tmp_path)
    text = (tmp_path / "serving_trace.md").read_text()
    assert all(f"| {stage} |" in text for stage in (*COMPUTED, FRONT, BETWEEN, WHOLE))
