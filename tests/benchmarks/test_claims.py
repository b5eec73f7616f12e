"""What the benchmark of claims counts is there."""

import json

from benchmarks import claims


def test_a_tiny_run(tmp_path):
    claims.main(workers=[2], tasks=4, seconds=0.5, results=tmp_path)
    written = json.loads((tmp_path / "scale.json").read_text())["claims"]
    (run,) = written["runs"]
    assert (run["workers"], run["tasks"]) == (2, 4)
    assert run["tasks_a_minute"] > 0
    assert run["statements_a_task"] > 10
    assert run["wal_bytes_a_task"] > 1_000
    assert written["running_task"]["statements_a_minute"] > 0
