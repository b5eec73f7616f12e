import json
from pathlib import Path

import pytest

from benchmarks import attention_transfer, frozen_cost, head_widths, step_cost
from sats_core.methods.sampling import PER_PICTURE

pytestmark = pytest.mark.slow


def test_attention_transfer(tmp_path: Path) -> None:
    attention_transfer.main(tmp_path, quick=True)
    written = json.loads((tmp_path / "attention_transfer.json").read_text())
    assert set(written["bars"]) >= {"never slower than the explicit map"}
    for record in written["records"]:
        assert record.keys() >= {"device", "hardware", "threads", "commit", "L", "K", "classes"}
        for name in ("ours", "explicit", "loop"):
            assert record[name]["ms"] > 0
        assert record["explicit"]["value"] == pytest.approx(record["ours"]["value"], rel=1e-4)


def test_step_cost(tmp_path: Path) -> None:
    step_cost.main(tmp_path, quick=True, compile_too=False)
    (record,) = json.loads((tmp_path / "step_cost.json").read_text())["records"]
    assert record["times_finetune"]["finetune"] == 1
    assert set(record["ms_per_step"]) == set(step_cost.DESCENDING)
    assert sum(record["sats_parts_ms"].values()) > 0
    assert record["loop_over_bare"] > 0


def test_frozen_cost(tmp_path: Path) -> None:
    frozen_cost.main(tmp_path, threads=1, quick=True)
    written = json.loads((tmp_path / "frozen_cost.json").read_text())
    assert written["bars"] == {}, "a tiny size says nothing of the bar"
    assert written["command"].endswith("--threads 1 --quick")
    record, case = written["record"], frozen_cost.QUICK
    assert record["solving_processor_seconds"] > 0
    assert record["pixels"] == case.kept + 2 * case.pictures * PER_PICTURE


def test_head_widths(tmp_path: Path) -> None:
    head_widths.main(tmp_path, quick=True)
    rows = json.loads((tmp_path / "head_widths.json").read_text())["record"]["widths"]
    assert [row["more"] for row in rows] == list(head_widths.MORE)
    assert all(row["processor_ms"] > 0 for row in rows)


@pytest.mark.parametrize(("solving", "holds"), [(14.9, True), (15.1, False)])
def test_the_bar_of_frozen(solving: float, holds: bool) -> None:
    record = {"sampling_seconds": 3.0, "units_seconds": 2.0, "solving_seconds": solving}
    assert frozen_cost.bars(record) == {frozen_cost.BAR: holds}
