import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import learning, learning_bars
from benchmarks.learning_plan import BASE, JOINT, PRESETS, Sequence, Variant
from benchmarks.learning_report import write_report
from benchmarks.learning_run import run_sequence
from sats_core.data.protocols import PROTOCOLS, VOC8
from sats_core.events import Event, ProgressEvent
from tests.fixtures.drawings import voc_zip

FIELDS = {
    "protocol",
    "method",
    "memory",
    "fusion",
    "seed",
    "preset",
    "miou_all",
    "miou_old",
    "miou_new",
    "joint_miou_all",
    "ratio_to_joint",
    "forgetting",
    "seconds",
    "commit",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voc8")
    path = voc_zip(
        folder / "a.zip", VOC8, pictures=32, size=40, seed=5, splits={"train": 24, "val": 8}
    )
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "data")
    return folder / "data"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def sequence(data: Path, out: Path, variant: str) -> Sequence:
    parsed = Variant.parse(variant)
    return Sequence("voc8-4-1", "overlapped", data, "quick", 0, parsed, out, until=2)


def nothing(_step: int, _event: Event) -> None:
    pass


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("sats", Variant("sats")),
        ("sats@memory=300", Variant("sats", memory=300)),
        ("mib@fusion=1", Variant("mib", fusion=True)),
        (
            "sats@memory=3@attention_weight=5",
            Variant("sats", memory=3, weights=(("attention_weight", 5.0),)),
        ),
    ],
)
def test_variants(text: str, variant: Variant) -> None:
    assert Variant.parse(text) == variant
    assert variant.label == text


def test_every_preset_knows_every_data_set() -> None:
    datasets = {name.split("-", 1)[0] for name in PROTOCOLS}
    assert all(datasets == set(preset.epochs) for preset in PRESETS.values())


def test_joint_is_shared_by_the_protocols_of_a_data_set() -> None:
    one = sequence(Path(), Path("runs"), JOINT)
    assert one.folder == replace(one, protocol="voc8-other").folder
    assert replace(one, seed=1).folder != one.folder
    base = sequence(Path(), Path("runs"), BASE)
    assert base.folder != replace(base, protocol="voc8-other").folder


@pytest.mark.slow
def test_a_protocol_from_pictures_to_report(data: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "runs", tmp_path / "results"
    for variant in (BASE, JOINT, "finetune"):
        run_sequence(sequence(data, out, variant), 1, nothing)
    replayed = sequence(data, out, "sats_plus@memory=6")

    class KilledError(Exception):
        pass

    def die(step: int, event: Event) -> None:
        if step == 2 and isinstance(event, ProgressEvent) and event.phase == "training":
            raise KilledError

    with pytest.raises(KilledError):
        run_sequence(replayed, 1, die)
    first = replayed.folder / "step1" / "step.json"
    before = first.stat().st_mtime_ns
    steps: list[int] = []
    run_sequence(replayed, 1, lambda step, _event: steps.append(step))
    assert first.stat().st_mtime_ns == before
    assert set(steps) == {2}, "a step that is finished is not taken again"

    runs = [sequence(data, out, variant) for variant in ("finetune", "sats_plus@memory=6", "mib")]
    assert "learning-voc8-4-1" in write_report(runs, results)
    records = json.loads((results / "learning-voc8-4-1.json").read_text())
    assert [record["variant"] for record in records] == ["finetune", "sats_plus@memory=6"]
    for record in records:
        assert record.keys() >= FIELDS
        assert len(record["steps"]) == 3
        assert len(record["iou"]) == 7
        assert record["ratio_to_joint"] == record["miou_all"] / record["joint_miou_all"]
    assert records[1]["steps"][1]["replayed"] == 6
    assert json.loads((runs[0].folder / "run.json").read_text()) == records[0]
    report = (results / "learning-voc8-4-1.md").read_text()
    assert "--methods finetune,sats_plus@memory=6 --seeds 0\n" in report
    assert "## Preset `quick`" in report
    assert (results / "learning-voc8-4-1-quick.svg").stat().st_size > 1000

    # Other runs are added to those that stand there, and replace their own.
    write_report(runs[:1], results)
    assert len(json.loads((results / "learning-voc8-4-1.json").read_text())) == 2


@pytest.mark.slow
def test_tuning_leaves_the_validation_pictures_alone(data: Path, tmp_path: Path) -> None:
    for name in (data / "ImageSets/Segmentation/val.txt").read_text().split():
        assert (data / "JPEGImages" / f"{name}.jpg").exists()
    run = replace(sequence(data, tmp_path, BASE), tuning=True)
    run_sequence(run, 1, nothing)
    step = json.loads((run.folder / "step0" / "step.json").read_text())
    assert "tuning" in str(run.folder)
    assert step["trained_pictures"] < 24


@pytest.mark.slow
def test_runs_in_processes_of_their_own(data: Path, tmp_path: Path) -> None:
    runs = [sequence(data, tmp_path, variant) for variant in (BASE, JOINT)]
    learning.run_all(runs, 2, 1, Console(quiet=True))
    assert all((run.folder / "step0" / "step.json").exists() for run in runs)


def test_a_wrong_protocol_is_named() -> None:
    import typer

    app = typer.Typer()
    app.command()(learning.main)
    answer = CliRunner().invoke(app, ["nowhere", "--protocol", "voc-1-2-3"])
    assert answer.exit_code == 2
    assert "voc-1-2-3" in answer.output


def test_bars_are_read_from_the_records(tmp_path: Path) -> None:
    scores = {"sats": 0.5, "mib": 0.4, "plop": 0.3, "ilt": 0.3, "lwf": 0.3, "finetune": 0.1}
    found = [
        {
            "variant": name,
            "miou_all": score,
            "ratio_to_joint": 0.94,
            "old_lost": 0.02,
            "tuning": False,
            "preset": "cpu",
        }
        for name, score in scores.items()
    ]
    path = tmp_path / "learning-ccp-15-1.json"
    path.write_text(json.dumps(found))
    table = list(learning_bars.rows(tmp_path))
    assert "| sats 0.500 > mib 0.400 >" in table[2]
    assert table[2].endswith("| 1 | yes |")
    assert any("0.938" in row and "| 0.940 | 1 | yes |" in row for row in table)
    assert any("memory 300" in row and "not measured" in row for row in table)
    found[1]["miou_all"] = 0.6
    path.write_text(json.dumps(found))
    assert "**no**" in list(learning_bars.rows(tmp_path))[2]
