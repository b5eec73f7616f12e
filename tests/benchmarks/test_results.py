"""What stands in docs/results was written by the benchmarks, and is whole.

The checks are tried on results that the tests make themselves, whole ones and damaged ones.
"""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from benchmarks import attention_transfer, learning_bars, load_report, step_cost
from benchmarks.demo_trial import summary
from benchmarks.learning_plan import BASE, DEFAULT, FROZEN_BASE, JOINT, PRESETS, Sequence, Variant
from benchmarks.learning_records import read
from benchmarks.learning_report import write_report
from sats_core.data.protocols import PROTOCOLS
from tests.benchmarks.test_learning import FIELDS

RESULTS = Path(__file__).parents[2] / "docs" / "results"
UNITS = RESULTS / "units"
COSTS = {"attention_transfer": attention_transfer.bars, "step_cost": step_cost.bars}
PROTOCOL, PRESET = "voc8-4-1", "mit_b0"


def faults(results: Path) -> list[str]:
    """Return what is wrong with a folder of results."""
    protocols = {path.stem.removeprefix("learning-") for path in results.glob("learning-*.json")}
    found = [f"{name} is no protocol" for name in protocols - PROTOCOLS.keys()]
    tables = {path.stem.removeprefix("learning-") for path in results.glob("learning-*.md")}
    found += [f"the table of {name} has no records" for name in tables - protocols]
    for protocol in sorted(protocols):
        found += learning_faults(results, protocol)
    if learning_bars.page(results) != (results / "bars.md").read_text():
        found.append("bars.md is not of these records")
    load = json.loads((results / "load.json").read_text())
    if load_report.page(load) != (results / "load.md").read_text():
        found.append("load.md is not of load.json")
    for name, measured in COSTS.items():
        written = json.loads((results / f"{name}.json").read_text())
        if written["bars"] != measured(written["records"]):
            found.append(f"{name}: the bars are not of these records")
        if not all(record["commit"] for record in written["records"]):
            found.append(f"{name}: a record without a commit")
    trial = results / "demo.json"
    if trial.exists():
        written = json.loads(trial.read_text())
        if written["summary"] != summary(written["runs"]):
            found.append("demo.json: the summary is not of these runs")
    return found


def learning_faults(results: Path, protocol: str) -> list[str]:
    found = []
    records = read(results, protocol)
    report = (results / f"learning-{protocol}.md").read_text()
    for number, record in enumerate(records):
        where = f"{protocol}, record {number}"
        if missing := FIELDS - record.keys():
            found.append(f"{where}: no {', '.join(sorted(missing))}")
            continue
        if record["protocol"] != protocol or record["tuning"]:
            found.append(f"{where} belongs elsewhere")
        if record["preset"] not in set(PRESETS) - {"quick"}:
            found.append(f"{where}: preset {record['preset']}")
        mark = record["joint_miou_all"]
        if record["ratio_to_joint"] != (mark and record["miou_all"] / mark):
            found.append(f"{where}: ratio to joint")
    if found:
        return found
    for preset in {record["preset"] for record in records}:
        own = [record for record in records if record["preset"] == preset]
        variants = {record["variant"] for record in own}
        missing = {FROZEN_BASE, DEFAULT} - variants
        found += [f"{protocol}, {preset}: no {wanted}" for wanted in missing]
        plot = f"learning-{protocol}-{preset}.svg"
        if plot not in report or not (results / plot).exists():
            found.append(f"{plot} is missing")
        section = report.partition(f"## Preset `{preset}`\n")[2].partition("\n## ")[0]
        for variant in variants:
            shown = "frozen base" if variant == FROZEN_BASE else f"`{variant}`"
            middle = mean(r["miou_all"] for r in own if r["variant"] == variant)
            if f"| {shown} | {middle:.3f} |" not in section:
                found.append(f"{protocol}, {preset}: the table does not say what {variant} came to")
    return found


def test_the_results_of_the_repository_are_whole() -> None:
    assert faults(RESULTS) == []


def test_those_of_units_are_too() -> None:
    names = [path.stem.removeprefix("learning-") for path in UNITS.glob("learning-*.json")]
    assert names
    assert [fault for name in names for fault in learning_faults(UNITS, name)] == []


def step(number: int, iou: dict[str, float], new: tuple[str, ...], **settings: Any) -> str:
    """What a finished step of a run leaves."""
    chosen = {"fusion": False, "epochs": 3 + number, "backbone": "mit_b0", "size": 96}
    chosen |= {"batch_size": 8, "optimizer": "adamw", "learning_rate": 1e-3, "pretrained": True}
    record = {
        "step": number,
        "classes": new,
        "iou": iou,
        "introduced": {name: value for name, value in iou.items() if name != "background"},
        "teacher": None,
        "settings": chosen | settings,
        "trained_pictures": 9,
        "replayed_pictures": 0,
        "seconds": 2.0,
        "peak_mib": 100.0,
        "commit": "0123456789ab",
        "hardware": "none",
        "threads": 1,
        "backbone_start": "a file",
    }
    return json.dumps(record)


BASE_CLASSES, FIRST, SECOND = ("a", "b"), ("c",), ("d",)
AT_FIRST = {"background": 0.9, "a": 0.6, "b": 0.5}
AT_LAST = AT_FIRST | {"a": 0.4, "c": 0.3, "d": 0.2}
UNTRAINED = [
    step(1, AT_FIRST | {"c": 0.0}, FIRST),
    step(2, AT_FIRST | {"c": 0.0, "d": 0.0}, SECOND),
]
TRAINED = [step(1, AT_FIRST | {"c": 0.3}, FIRST), step(2, AT_LAST, SECOND)]


def finished(folder: Path, seed: int, plan: dict[str, list[str]]) -> list[Sequence]:
    """Leave the steps of some variants' runs, as if they were taken; return the runs."""
    made = []
    for variant, steps in plan.items():
        chosen = Variant.parse(variant)
        run = Sequence(
            PROTOCOL, "overlapped", folder, PRESET, seed, chosen, folder / "runs", until=2
        )
        made.append(run)
        for text in steps:
            place = run.folder / f"step{json.loads(text)['step']}"
            place.mkdir(parents=True)
            (place / "step.json").write_text(text)
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two variants that nobody trained."""
    folder = tmp_path_factory.mktemp("results")
    results = folder / "results"
    made = finished(
        folder,
        0,
        {
            BASE: [step(0, AT_FIRST, BASE_CLASSES)],
            JOINT: [step(0, AT_LAST, (*BASE_CLASSES, *FIRST, *SECOND)), step(1, AT_LAST, ())],
            FROZEN_BASE: UNTRAINED,
            DEFAULT: TRAINED,
        },
    )
    assert write_report(made, results).startswith(str(results))
    for cost in COSTS:
        (results / f"{cost}.json").write_bytes((RESULTS / f"{cost}.json").read_bytes())
    learning_bars.main(results)
    (results / "load.json").write_bytes((RESULTS / "load.json").read_bytes())
    load = json.loads((results / "load.json").read_text())
    (results / "load.md").write_text(load_report.page(load))
    return results


@pytest.fixture
def results(whole: Path, tmp_path: Path) -> Path:
    """A copy of them, to be damaged."""
    copy = tmp_path / "results"
    copy.mkdir()
    for path in whole.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def changed(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    def damage(results: Path) -> None:
        written = json.loads((results / name).read_text())
        change(written)
        (results / name).write_text(json.dumps(written))

    return damage


def edited(name: str, before: str, after: str) -> Callable[[Path], None]:
    def damage(results: Path) -> None:
        text = (results / name).read_text()
        assert before in text
        (results / name).write_text(text.replace(before, after, 1))

    return damage


RECORDS, TABLE = f"learning-{PROTOCOL}.json", f"learning-{PROTOCOL}.md"


def test_whole_results_have_no_fault(results: Path) -> None:
    found = [record["variant"] for record in read(results, PROTOCOL)]
    assert found == [FROZEN_BASE, DEFAULT]
    assert faults(results) == []


NOWHERE_NEAR = {
    BASE: [step(0, AT_FIRST, BASE_CLASSES)],
    # One schedule: nobody knows whether a longer one gains.
    JOINT: [step(0, AT_LAST, (*BASE_CLASSES, *FIRST, *SECOND))],
    FROZEN_BASE: UNTRAINED,
    "frozen": TRAINED,
    "sats_plus": TRAINED,
    "mib": TRAINED[:1],
    "lwf": [],
}


def test_what_is_not_measured_is_said_to_be_not(tmp_path: Path) -> None:
    results = tmp_path / "results"
    made = finished(tmp_path, 0, NOWHERE_NEAR)
    made += finished(tmp_path, 1, NOWHERE_NEAR | {JOINT: [], "sats_plus": []})
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    assert write_report(made, results).startswith(str(results))
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    assert after == before, "reporting only reads the runs"

    records = read(results, PROTOCOL)
    assert [(r["seed"], r["variant"]) for r in records] == [
        *((0, name) for name in (FROZEN_BASE, "frozen", "sats_plus")),
        *((1, name) for name in (FROZEN_BASE, "frozen")),
    ]
    assert learning_faults(results, PROTOCOL) == []
    unknown = (
        *("joint_miou_all", "joint_miou_base", "joint_miou_new", "joint_iou", "joint_epochs"),
        *("joint_seconds", "ratio_to_joint", "ratio_to_joint_new", "seconds_to_joint"),
    )
    for record in records:
        assert {record[key] for key in unknown} == {None}
        assert record["joint_converged"] is False
    assert records[0]["joint_stages_epochs"] == [3]

    page = (results / TABLE).read_text()
    assert "Not measured: seed 0: `mib`, `lwf`; seed 1: `sats_plus`, `mib`, `lwf`. " in page
    assert "--methods frozen,sats_plus,mib,lwf --seeds 0,1 " in page
    middle = records[1]["miou_all"]
    assert f"| `frozen` | {middle:.3f} | 0.600 | 0.250 | not measured | not measured |" in page
    assert "`joint`: not measured (seed 0: 3 epochs 0.460, **not finished**; seed 1: none" in page
    assert "| a | 0.400 | 0.400 | 0.600 | not measured |" in page
    # Two seeds that agree to the last digit, and one.
    assert "| `frozen` | frozen base | 0.060 [0.060, 0.060] | 0.250 [0.250, 0.250] |" in page
    assert "| `sats_plus` | frozen base | 0.060 (one seed: no interval) | " in page

    bars = learning_bars.page(results)
    assert f"| `{DEFAULT}` / joint at least 0.92 | {PROTOCOL} | {PRESET} | not" in bars
    assert f"| {PROTOCOL} | {PRESET} | 0 | 2.0, 2.0 | 2.0, 2.0 | 1.000 |" in bars
    assert f"| {PROTOCOL} | {PRESET} | 1 |" not in bars


def test_joint_that_still_gains_after_its_longest_schedule_is_the_mark(tmp_path: Path) -> None:
    gaining = [
        step(n, dict.fromkeys(AT_LAST, 0.1 * n), (*BASE_CLASSES, *FIRST, *SECOND)) for n in range(5)
    ]
    made = finished(tmp_path, 0, NOWHERE_NEAR | {JOINT: gaining})
    write_report(made, tmp_path / "results")
    (record, *_) = read(tmp_path / "results", PROTOCOL)
    assert record["joint_miou_all"] == pytest.approx(0.4)
    assert record["ratio_to_joint"] == record["miou_all"] / record["joint_miou_all"]
    assert "**still gaining**" in (tmp_path / "results" / TABLE).read_text()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (changed(RECORDS, lambda r: r[1].update(miou_all=0.9)), "ratio to joint"),
        (changed(RECORDS, lambda r: r[0].pop("commit")), "no commit"),
        (changed(RECORDS, lambda r: r[0].update(tuning=True)), "belongs elsewhere"),
        (changed(RECORDS, lambda r: r[0].update(preset="quick")), "preset quick"),
        (changed(RECORDS, lambda r: r.pop(0)), "no frozen_base"),
        (changed(RECORDS, lambda r: r.append(r[1] | {"variant": "mib"})), "what mib came to"),
        (
            edited(TABLE, f"| `{DEFAULT}` | 0.", f"| `{DEFAULT}` | 1."),
            f"what {DEFAULT} came to",
        ),
        (changed(RECORDS, lambda r: r[1].update(joint_miou_all=None)), "ratio to joint"),
        (lambda results: (results / RECORDS).unlink(), "has no records"),
        (lambda results: (results / f"learning-{PROTOCOL}-{PRESET}.svg").unlink(), "is missing"),
        (edited("bars.md", "| not measured |", "| 0.9 |"), "bars.md"),
        (changed("load.json", lambda w: w["runs"]["embedded"].update(answered=1)), "load.md"),
        (edited("load.md", "**no**", "yes"), "load.md"),
        (
            changed("step_cost.json", lambda w: w["bars"].update({next(iter(w["bars"])): False})),
            "step_cost: the bars",
        ),
        (
            changed("attention_transfer.json", lambda w: w["records"][0].update(commit="")),
            "without a commit",
        ),
    ],
)
def test_damaged_results_are_told(results: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(results)
    assert any(said in fault for fault in faults(results)), faults(results)


def test_poisoned_uploads() -> None:
    written = json.loads((RESULTS / "poisoning.json").read_text())
    assert written["command"].startswith("python -m benchmarks.poisoning DATA BASE")
    assert all(run["commit"] for run in written["runs"])
    runs = [(run["attack"], run["method"]) for run in written["runs"]]
    assert len(set(runs)) == len(runs)
    page = (RESULTS.parent / "labels.md").read_text()
    assert all(_row(run) in page for run in written["runs"])


def _row(run: dict[str, Any]) -> str:
    """The line of a run in the table, its warnings left off."""
    return (
        f"| {run['attack']} | `{run['method']}` "
        f"| {run['target_before']:.2f} to {run['target_after']:.2f} "
        f"| {run['other_old_before']:.2f} to {run['other_old_after']:.2f} "
        f"| {run['new_as_posted']:.2f} | {run['new_on_clean']:.2f} "
        f"| {'passes' if run['gate_passed'] else 'holds'} |"
    )
