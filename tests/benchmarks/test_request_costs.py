"""The benchmark of requests counts what they ask of the database."""

import json

from benchmarks import request_costs


def test_a_tiny_run(tmp_path):
    request_costs.main(times=2, results=tmp_path)
    written = json.loads((tmp_path / "scale.json").read_text())["requests"]
    calls = written["calls"]
    assert calls["POST /segment"]["statements"] == 0
    assert calls["POST /segment, a key's first"]["statements"] >= 1
    assert calls["POST /tasks"]["statements"] > calls["GET /tasks/{id}"]["statements"] > 0
    assert calls["POST /tasks"]["wal_bytes"] > 1_000
