"""What stands in docs/results was written by the benchmarks, and is whole."""

import json
from pathlib import Path

import pytest

from benchmarks import learning_bars
from benchmarks.demo_trial import summary
from benchmarks.learning_plan import FROZEN_BASE, PRESETS
from benchmarks.learning_records import read
from sats_core.data.protocols import PROTOCOLS
from tests.benchmarks.test_learning import FIELDS

RESULTS = Path(__file__).parents[2] / "docs" / "results"
MEASURED = [name for name in PROTOCOLS if (RESULTS / f"learning-{name}.json").exists()]


@pytest.mark.parametrize("protocol", MEASURED)
def test_learning_records(protocol: str) -> None:
    records = read(RESULTS, protocol)
    for record in records:
        assert record.keys() >= FIELDS
        assert record["protocol"] == protocol
        assert not record["tuning"]
        assert record["preset"] in set(PRESETS) - {"quick"}
        assert record["ratio_to_joint"] == record["miou_all"] / record["joint_miou_all"]
    report = (RESULTS / f"learning-{protocol}.md").read_text()
    for preset in {record["preset"] for record in records}:
        variants = {r["variant"] for r in records if r["preset"] == preset}
        assert variants >= {FROZEN_BASE, learning_bars.DEFAULT}, "each table has the row to beat"
        assert f"learning-{protocol}-{preset}.svg" in report
        assert (RESULTS / f"learning-{protocol}-{preset}.svg").exists()


def test_no_table_is_without_its_records() -> None:
    tables = {path.stem.removeprefix("learning-") for path in RESULTS.glob("learning-*.md")}
    assert tables == set(MEASURED)


def test_the_bars_are_those_of_the_records() -> None:
    table = "\n".join(learning_bars.rows(RESULTS))
    assert table in (RESULTS / "bars.md").read_text()


def test_the_trial_of_the_demo() -> None:
    path = RESULTS / "demo.json"
    if not path.exists():
        pytest.skip("the demo's trial has not been run")
    written = json.loads(path.read_text())
    assert written["command"].startswith("python -m benchmarks.demo_trial")
    assert written["summary"] == summary(written["runs"])
    assert all(run["commit"] for run in written["runs"])


@pytest.mark.parametrize("name", ["attention_transfer", "step_cost"])
def test_costs(name: str) -> None:
    written = json.loads((RESULTS / f"{name}.json").read_text())
    assert written["bars"]
    assert all(record["commit"] for record in written["records"])


def test_poisoned_uploads() -> None:
    written = json.loads((RESULTS / "poisoning.json").read_text())
    assert written["command"].startswith("python -m benchmarks.poisoning DATA BASE")
    assert written["commit"]
    runs = [(run["attack"], run["method"]) for run in written["runs"]]
    assert len(set(runs)) == len(runs)
    page = (RESULTS.parent / "labels.md").read_text()
    assert all(f"| {attack} | `{method}` |" in page for attack, method in runs)
