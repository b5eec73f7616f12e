"""The benchmark of gradients, at a size that measures nothing."""

import json
from pathlib import Path

from benchmarks import gradient_leakage
from sats_core.leakage_report import NO_GUARANTEE, Attack, LeakageReport
from tests.fixtures.backbones import TINY

RESULTS = Path(__file__).parents[2] / "docs/results"


def test_every_attack_is_measured_on_both_models(tmp_path: Path) -> None:
    asked = {"backbone": TINY, "size": 32, "pictures": 40, "epochs": 1, "iterations": 1}
    gradient_leakage.main(**asked, seed=0, threads=1, out=tmp_path / "made", results=tmp_path)
    record = json.loads((tmp_path / "gradient_leakage.json").read_text())
    assert record["commit"]
    assert record["note"] == NO_GUARANTEE
    assert str(tmp_path) not in json.dumps(record)
    assert len(record["pictures"]) == gradient_leakage.ATTACKED
    assert len({picture["picture"] for picture in record["pictures"]}) == len(record["pictures"])
    assert len(list((tmp_path / "made").rglob("*.png"))) == gradient_leakage.ATTACKED * 5


def test_the_results_are_the_means_of_what_stands_in_them() -> None:
    record = json.loads((RESULTS / "gradient_leakage.json").read_text())
    assert record["command"].startswith("python -m benchmarks.gradient_leakage")
    assert record["commit"]
    assert record["note"] == NO_GUARANTEE
    reports = [LeakageReport.model_validate(one) for one in record["pictures"]]
    found = {row["what"]: row for row in gradient_leakage.summed(reports)}
    assert {row["what"]: row for row in record["summary"]} == found
    assert [one.attack for one in reports[0].attacks] == list(Attack)


def test_the_page_says_what_the_results_say() -> None:
    record = json.loads((RESULTS / "gradient_leakage.json").read_text())
    page = (RESULTS.parent / "gradients.md").read_text()
    for row in record["summary"]:
        assert f"| {row['psnr']:.1f} | {row['ssim']:.2f} |" in page, row
    reports = [LeakageReport.model_validate(one) for one in record["pictures"]]
    better = [
        one.similarity.ssim > report.marks["painted"].ssim
        for report in reports
        for one in report.attacks
    ]
    both = sum(row.get("better_than_painted", 0) for row in record["summary"])
    assert f"{sum(better)} of the {len(better)} reconstructions beat `painted`" in page
    assert f"SSIM, {both} of the {len(better)}" in page
