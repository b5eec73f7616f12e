"""The main job on real pictures: real HTTP, real worker, real training, seen from outside."""

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.real_pictures import BASE, NEW, Plan, run, table
from demo.service import serving
from tests.fixtures.shared import shared

# Small enough for two cores and two minutes; far too short for a good model.
PLAN = Plan(
    base_pictures=240, step_pictures=60, size=64, base_epochs=14, step_epochs=6, batch_size=8
)


@pytest.mark.real
@pytest.mark.slow
def test_a_new_class_on_real_pictures(tmp_path: Path) -> None:
    voc8 = shared("data", "voc8")
    with serving(tmp_path / "service") as url:
        versions = run(url, voc8, PLAN, Console(width=100))
    Console(width=100).print(table(versions))

    base, finetune, sats = versions["base"], versions["finetune"], versions["sats"]
    assert [known.name for known in sats.classes] == ["background", *BASE, *NEW]
    assert base.lineage == (1,)
    assert finetune.lineage == (1, 2)
    assert sats.lineage == (1, 3)
    # Both steps were scored on the same pictures: the base step's 48 and the step's own 12.
    assert [v.scores.pictures for v in versions.values()] == [48, 60, 60]
    was = [base.scores.iou[name] for name in BASE]
    assert max(was) > 0.05  # something was learned
    # Plain fine-tuning forgets what it was; SATS keeps it.
    lost = [sum(version.scores.forgetting.values()) / len(BASE) for version in (finetune, sats)]
    assert lost[0] > 0.5 * sum(was) / len(BASE)
    assert lost[1] < 0.5 * lost[0]
