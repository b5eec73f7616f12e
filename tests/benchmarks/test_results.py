"""What stands in docs/results was written by the benchmarks, and is whole."""

import json
from pathlib import Path

import pytest

from benchmarks import learning_bars
from tests.benchmarks.test_learning import FIELDS

RESULTS = Path(__file__).parents[2] / "docs" / "results"
METHODS = {"finetune", "lwf", "ilt", "mib", "plop", "sats", "sats_plus"}


@pytest.mark.parametrize("protocol", ["ccp-15-1", "voc8-4-1", "ccp-10-1"])
def test_learning_records(protocol: str) -> None:
    records = json.loads((RESULTS / f"learning-{protocol}.json").read_text())
    for record in records:
        assert record.keys() >= FIELDS
        assert record["protocol"] == protocol
        assert not record["tuning"]
        assert record["preset"] in {"cpu", "cpu-long", "gpu"}
        assert record["ratio_to_joint"] == record["miou_all"] / record["joint_miou_all"]
    if protocol != "ccp-10-1":
        for method in METHODS:
            assert len({r["seed"] for r in records if r["variant"] == method}) >= 2, method
    report = (RESULTS / f"learning-{protocol}.md").read_text()
    for preset in {record["preset"] for record in records}:
        assert f"learning-{protocol}-{preset}.svg" in report
        assert (RESULTS / f"learning-{protocol}-{preset}.svg").exists()


def test_the_bars_are_those_of_the_records() -> None:
    table = "\n".join(learning_bars.rows(RESULTS))
    assert table in (RESULTS / "bars.md").read_text()
    assert "not measured" not in table


@pytest.mark.parametrize("name", ["attention_transfer", "step_cost"])
def test_costs(name: str) -> None:
    written = json.loads((RESULTS / f"{name}.json").read_text())
    assert written["bars"]
    assert all(record["commit"] for record in written["records"])
