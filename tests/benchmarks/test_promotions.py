"""The benchmark of promotions sees them: real processes, few of them, for a moment."""

import json

from benchmarks import promotions
from benchmarks.scale_record import write_section


def test_two_processes_follow(tmp_path):
    promotions.main(replicas=2, moves=3, pause=0.05, seconds=1.0, results=tmp_path)
    found = json.loads((tmp_path / "scale.json").read_text())["promotion"]
    took = found["seconds_until_the_last_has_it"]
    assert 0 < took["p50"] <= took["p99"] <= took["max"] < promotions.PATIENCE_SECONDS
    assert found["requests_that_failed"] == []
    assert found["requests_a_second"] > 0
    assert found["database_a_second"]["no requests"]["transactions"] > 0


def test_sections_of_other_commands_stay(tmp_path):
    write_section(tmp_path, "one", "first", {"figure": 1})
    write_section(tmp_path, "two", "second", {"figure": 2})
    write_section(tmp_path, "one", "third", {"figure": 3})
    record = json.loads((tmp_path / "scale.json").read_text())
    assert {name: found["figure"] for name, found in record.items()} == {"one": 3, "two": 2}
    assert record["one"]["command"] == "third"
