import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import (
    learning,
    learning_bars,
    learning_frozen_base,
    learning_joint,
    learning_measures,
    learning_records,
    learning_run,
)
from benchmarks.learning_plan import (
    BASE,
    DEFAULT,
    FROZEN_BASE,
    JOINT,
    METHODS,
    PRESETS,
    Sequence,
    Variant,
)
from benchmarks.learning_records import read, taken
from benchmarks.learning_report import _with_joint, write_report
from benchmarks.learning_run import run_sequence
from sats_core.data.protocols import PROTOCOLS, VOC8
from sats_core.errors import ModelError
from sats_core.events import Event, ProgressEvent
from sats_core.export import CURVATURE, load_version
from sats_core.methods.curvature import Curvature
from sats_core.training.start import Start
from tests.fixtures.drawings import voc_zip
from tests.fixtures.shared import shared

FIELDS = {
    *("protocol", "method", "memory", "fusion", "seed", "preset", "commit", "tuning"),
    *("miou_all", "miou_base", "miou_new", "forgetting", "base_lost"),
    *("joint_miou_all", "joint_miou_new", "joint_epochs", "joint_converged", "joint_seconds"),
    *("ratio_to_joint", "ratio_to_joint_new", "kept_share", "entropy"),
    *("background_before", "background_after", "background_lost"),
    *("seconds", "seconds_per_step", "seconds_to_joint", "steps", "iou"),
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
            Variant("sats", memory=3, options=(("attention_weight", 5.0),)),
        ),
        ("plop@unsure=unbiased", Variant("plop", options=(("unsure", "unbiased"),))),
        ("sats@memory=3@head=scaled", Variant("sats", memory=3, head="scaled")),
    ],
)
def test_variants(text: str, variant: Variant) -> None:
    assert Variant.parse(text) == variant
    assert variant.label == text


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="no head 'round'"):
        Variant.parse("sats@head=round")


def test_a_head_has_a_base_step_of_its_own() -> None:
    variants = [Variant.parse(text) for text in ("sats", "frozen@head=scaled", "sats@head=scaled")]
    runs = learning.plan(
        *("voc8-4-1", "overlapped", Path(), "quick", [0], variants, Path("runs"), False, None)
    )
    bases = [run for run in runs if run.variant.method == BASE]
    assert [run.folder.name for run in bases] == ["base", "base@head=scaled"]
    plain, *scaled = [run.base.folder for run in runs[-3:]]
    assert plain == bases[0].folder
    assert scaled == [bases[1].folder] * 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_a_preset(protocol: str) -> None:
    dataset = protocol.split("-", 1)[0]
    presets = [preset for name, preset in PRESETS.items() if name != "quick"]
    assert any(dataset in preset.epochs for preset in presets)
    assert dataset in PRESETS["quick"].epochs


def test_teachers_of_rising_sureness_share_their_joint() -> None:
    runs = [
        replace(sequence(Path(), Path("runs"), JOINT), protocol="drawn-6-1", preset=f"drawn-{much}")
        for much in ("few", "more", "most")
    ]
    assert len({run.folder for run in runs}) == 1
    assert len({replace(run, variant=Variant(BASE)).folder for run in runs}) == 3
    epochs = [PRESETS[run.preset].epochs["drawn"][0] for run in runs]
    assert epochs == sorted(set(epochs))


def test_joint_and_base_are_shared_by_protocols_that_have_them_in_common() -> None:
    def folder(protocol: str, variant: str, seed: int = 0) -> Path:
        run = sequence(Path(), Path("runs"), variant)
        return replace(run, protocol=protocol, seed=seed).folder

    assert folder("ccp-15-1", JOINT) == folder("ccp-10-1", JOINT) != folder("voc8-4-1", JOINT)
    assert folder("ccp-15-3", JOINT) != folder("ccp-15-5", JOINT) != folder("ccp-15-7", JOINT)
    assert folder("ccp-15-1", BASE) == folder("ccp-15-7", BASE) != folder("ccp-10-1", BASE)
    assert folder("ccp-15-1", "sats") != folder("ccp-15-7", "sats")
    for variant in (JOINT, BASE, "sats"):
        assert folder("ccp-15-1", variant) != folder("ccp-15-1", variant, seed=1)


@pytest.mark.slow
def test_a_protocol_from_pictures_to_report(data: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "runs", tmp_path / "results"
    for variant in (BASE, JOINT, FROZEN_BASE, "finetune"):
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

    names = (FROZEN_BASE, "finetune", "sats_plus@memory=6", "mib")
    runs = [sequence(data, out, variant) for variant in names]
    assert "learning-voc8-4-1" in write_report(runs, results)
    records = read(results, "voc8-4-1")
    assert [record["variant"] for record in records] == list(names[:3])
    for record in records:
        assert record.keys() >= FIELDS
        assert len(record["steps"]) == 3
        assert len(record["iou"]) == 7
        assert record["ratio_to_joint"] == record["miou_all"] / record["joint_miou_all"]
        assert record["background_lost"] == pytest.approx(
            record["steps"][0]["background"] - record["iou"]["background"]
        )
    frozen, _, replayed_record = records
    assert frozen["miou_new"] == 0
    assert 0 <= replayed_record["kept_share"] <= 1
    assert 0 <= replayed_record["entropy"] <= 1
    assert replayed_record["steps"][1]["replayed"] == 6
    report = (results / "learning-voc8-4-1.md").read_text()
    # The command makes what is there, and what was asked for and is missing.
    assert "--methods finetune,sats_plus@memory=6,mib --seeds 0\n" in report
    assert "Not measured: seed 0: `mib`. " in report
    assert "## Preset `quick`" in report
    assert "| frozen base |" in report
    assert (results / "learning-voc8-4-1-quick.svg").stat().st_size > 1000

    # Other runs are added to those that stand there, and replace their own.
    write_report(runs[:1], results)
    assert len(read(results, "voc8-4-1")) == 3


@pytest.mark.slow
def test_every_stage_of_joint_is_one_schedule_from_the_same_start(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sequence(data, tmp_path, JOINT)
    learn, began = learning_run.learn, []

    def noted(start: Start, *rest: Any) -> Any:
        began.append({name: value.clone() for name, value in start.model.state_dict().items()})
        return learn(start, *rest)

    monkeypatch.setattr(learning_run, "learn", noted)
    monkeypatch.setattr(learning_joint, "CONVERGED", -2.0)
    monkeypatch.setattr(learning_run, "MOST_STAGES", 3)
    run_sequence(run, 1, nothing)
    # 1 epoch, then half as many again, rounded up.
    assert [stage["settings"]["epochs"] for stage in taken(run)] == [1, 2, 3]
    for later in began[1:]:
        assert all(torch.equal(value, later[name]) for name, value in began[0].items())
    assert not list(run.folder.rglob("model.safetensors")), "nobody starts from it"


def stages_of(*scores: float) -> list[dict[str, Any]]:
    return [
        {"step": i, "iou": {"a": score, "b": None}, "settings": {"epochs": 4 + i}, "seconds": i}
        for i, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("scores", "ended", "best"),
    [
        ((0.5,), False, 0),
        ((0.5, 0.52), False, 1),
        ((0.5, 0.505), True, 1),
        # More epochs that harm have gained nothing, and the mark is the stage before them.
        ((0.5, 0.4), True, 0),
        ((0.5, 0.52, 0.515), True, 1),
        ((0.5, 0.52, 0.54, 0.56, 0.58), False, 4),
    ],
)
def test_joint_ends_when_more_gains_little(
    scores: tuple[float, ...], ended: bool, best: int
) -> None:
    found = stages_of(*scores)
    assert learning_joint.converged(found) is ended
    assert learning_joint.best(found) is found[best]


def test_the_best_stage_of_joint_is_the_mark(tmp_path: Path) -> None:
    run = sequence(tmp_path, tmp_path, "sats")
    joint = replace(run, variant=Variant(JOINT)).folder
    for stage in stages_of(0.5, 0.52, 0.4):
        (joint / f"step{stage['step']}").mkdir(parents=True)
        (joint / f"step{stage['step']}" / "step.json").write_text(json.dumps(stage))
    mark = learning_records.joint_of(run, {"a": 1.0})
    assert mark["joint_miou_all"] == 0.52
    assert mark["joint_epochs"] == 5
    assert mark["joint_seconds"] == 1
    assert mark["joint_stages_epochs"] == [4, 5, 6]


def test_stages_of_other_lengths_are_not_taken_up(tmp_path: Path) -> None:
    assert [learning_joint.stage_epochs(30, number) for number in range(4)] == [30, 45, 68, 102]
    (tmp_path / "step0").mkdir()
    (tmp_path / "step0" / "step.json").write_text(json.dumps(stages_of(0.5)[0]))
    learning_joint.check_stages(tmp_path, 4)
    with pytest.raises(ModelError, match="step0 was trained for 4 epochs and not 5"):
        learning_joint.check_stages(tmp_path, 5)


def test_the_frozen_base_is_scored_on_all_classes() -> None:
    counts = np.array([[50, 5, 0], [2, 20, 0], [7, 3, 0]])
    after = learning_frozen_base.collapsed(counts, 3).iou()
    assert after == [50 / 64, 20 / 30, 0]
    before = learning_frozen_base.collapsed(counts, 2).iou()
    assert before == [57 / 67, 20 / 30], "a class nobody knows of yet is background"


def test_a_preset_from_pretrained_weights_refuses_to_start_without(
    data: Path, tmp_path: Path
) -> None:
    preset = replace(PRESETS["quick"], pretrained=True)
    run = sequence(data, tmp_path, BASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "quick", preset)
        with pytest.raises(ModelError, match="--backbone-dir"):
            run_sequence(run, 1, nothing)


@pytest.mark.real
@pytest.mark.slow
def test_a_preset_from_pretrained_weights_starts_from_them(data: Path, tmp_path: Path) -> None:
    backbones = shared("backbones")
    preset = replace(PRESETS["quick"], pretrained=True, backbone="mit_b0")
    run = replace(sequence(data, tmp_path, BASE), backbone_dir=backbones)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "quick", preset)
        run_sequence(run, 1, nothing)
        run_sequence(replace(run, variant=Variant("sats_plus"), until=1), 1, nothing)
    (base,) = taken(run)
    assert base["backbone_start"] == "directory mit_b0"


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
def test_curvature_is_kept_with_versions_and_that_of_the_base_with_the_run(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    base = sequence(data, out, BASE)
    run = replace(sequence(data, out, "kfac@pictures=4"), until=1)
    for each in (base, run):
        run_sequence(each, 1, nothing)
    model = load_version(base.folder / "step0" / "version").model
    assert not (base.folder / "step0" / "version" / CURVATURE).exists()
    first = Curvature.load(run.folder / "base-curvature.safetensors", model)
    version = run.folder / "step1" / "version"
    last = load_version(version).curvature
    assert last is not None
    assert set(last.layers) - set(first.layers) == {"classifier.steps.1"}
    # Of both steps: the nearest product to a sum is no smaller than either part.
    for name, factors in first.layers.items():
        one, both = (f.inputs.norm() * f.outputs.norm() for f in (factors, last.layers[name]))
        assert both >= 0.999 * one, name
    size = last.size / 2**20
    (record,) = [r for r in (learning_records.record_of(run),) if r]
    assert record["curvature_mib"] == pytest.approx(size)
    assert (version / CURVATURE).stat().st_size == pytest.approx(last.size, rel=0.01)
    write_report([run], tmp_path / "results")
    report = (tmp_path / "results" / "learning-voc8-4-1.md").read_text()
    assert f"Curvature kept with a version: `kfac@pictures=4` {size:.0f} MiB." in report


@pytest.mark.slow
def test_runs_in_processes_of_their_own(data: Path, tmp_path: Path) -> None:
    runs = [sequence(data, tmp_path, variant) for variant in (BASE, JOINT)]
    bad = replace(sequence(data, tmp_path, BASE), seed=1, data=tmp_path / "nowhere")
    on_bad = replace(bad, variant=Variant("finetune"))
    failed = learning.run_all([bad, on_bad, *runs], 2, 1, Console(quiet=True))
    assert all((run.folder / "step0" / "step.json").exists() for run in runs)
    assert len(failed) == 1, "what stands on a failed run is not tried, the others are"
    assert "seed 1 base" in failed[0]


def test_a_wrong_protocol_is_named() -> None:
    import typer

    app = typer.Typer()
    app.command()(learning.main)
    answer = CliRunner().invoke(app, ["nowhere", "--protocol", "voc-1-2-3"])
    assert answer.exit_code == 2
    assert "voc-1-2-3" in answer.output


def record(variant: str, seed: int, **figures: object) -> dict[str, object]:
    return {
        "variant": variant,
        "method": variant.split("@")[0],
        "seed": seed,
        "tuning": False,
        "preset": learning_bars.DRAWN,
        "protocol": "drawn-6-1",
        "steps": [{"miou_base": 0.9}],
        **figures,
    }


def test_bars_are_read_from_the_records(tmp_path: Path) -> None:
    scores = {"sats": 0.5, "mib": 0.4, "plop": 0.3, "ilt": 0.2, "lwf": 0.2, "finetune": 0.1}
    found = [
        record(
            name,
            seed,
            miou_all=score + 0.01 * seed,
            ratio_to_joint=0.94,
            seconds_per_step=10.0,
        )
        for name, score in scores.items()
        for seed in range(3)
    ]
    path = tmp_path / "learning-drawn-6-1.json"

    def table() -> str:
        path.write_text(json.dumps(found))
        return "\n".join(learning_bars.rows(tmp_path))

    whole = table()
    for bar in ("`sats` above `mib`", "`plop` above `lwf`", "base version over 0.85"):
        assert re.search(rf"{re.escape(bar)} .*\| 3 \| yes \|", whole), bar
    assert re.search(r"`sats` / joint at least 0.938 .* 0.940 \[0.940, 0.940\] \| 3 \| yes", whole)
    assert re.search(rf"`{DEFAULT}` / joint at least 0.97 .* not measured", whole)
    found[0]["miou_all"] = 0.0
    assert re.search(r"`sats` above `mib` .*\*\*no\*\*", table()), "the interval reaches below 0"
    del found[1:3]
    found[0]["miou_all"] = 0.9
    assert re.search(r"`sats` above `mib` .* no interval\) \| 1 \| \*\*no\*\*", table())


@pytest.mark.parametrize(
    ("other", "noise", "seeds", "holds"),
    [
        (0.40, 0.02, 3, True),
        # A tie is told by an interval about 0 that is narrow, lost by one below 0.
        (0.501, 0.001, 3, True),
        (0.60, 0.02, 3, False),
        # Two seeds 0.01 apart leave 0.127 open, one seed everything.
        (0.52, 0.01, 2, None),
        (0.48, 0.01, 2, None),
        (0.40, 0.0, 1, None),
        (0.60, 0.0, 1, None),
    ],
)
def test_the_default_may_tie_but_not_lose(
    other: float, noise: float, seeds: int, holds: bool | None
) -> None:
    records = [
        record(name, seed, miou_all=score + spread * seed)
        for name, score, spread in (
            ("sats_plus", 0.50, 0.0),
            *((name, other, noise) for name in METHODS if name != "sats_plus"),
            ("frozen_base", 0.9, 0.0),
            ("mib@fusion=1", 0.9, 0.0),
        )
        for seed in range(seeds)
    ]
    measured = learning_measures.beaten_by_none("sats_plus")(records)
    assert measured is not None
    assert measured.holds is holds
    # Nobody knows what a method comes to that was not run; one that beats the default still does.
    some = [each for each in records if each["variant"] != "lwf"]
    measured = learning_measures.beaten_by_none("sats_plus")(some)
    assert measured is not None
    assert measured.text.endswith(", the closest of 6; 1 not measured")
    assert measured.holds is (False if holds is False else None)


def test_an_open_comparison_is_not_hidden_by_the_closest(tmp_path: Path) -> None:
    scores = dict.fromkeys(METHODS, (0.4, 0.4))
    scores |= {DEFAULT: (0.5, 0.5), "mib": (0.5, 0.5), "lwf": (0.45, 0.5)}
    others = {"ratio_to_joint": 0.9, "ratio_to_joint_new": 0.9, "seconds_per_step": 1.0}
    found = [
        record(name, seed, miou_all=score, **others) | {"preset": learning_bars.REAL}
        for name, both in scores.items()
        for seed, score in enumerate(both)
    ]
    (tmp_path / "learning-ccp-15-1.json").write_text(json.dumps(found))
    table = "\n".join(learning_bars.rows(tmp_path))
    assert re.search(rf"no method beats `{DEFAULT}` \| ccp-15-1 .* `mib`.* \| 2 \| open \|", table)
    assert learning_measures.beaten_by_none(DEFAULT)([]) is None


@pytest.mark.parametrize(("at_once", "holds"), [(0.85, True), (0.75, False)])
def test_classes_at_once_are_compared_with_the_same_in_a_row(
    at_once: float, holds: bool, tmp_path: Path
) -> None:
    """The base classes start at 0.9; in a row they have 0.8 after two steps, 0.1 after three."""
    in_a_row = [0.9, 0.85, 0.8, 0.1]
    together = [{"miou_base": 0.9, "classes": ["a"]}, {"miou_base": at_once, "classes": ["b", "c"]}]
    runs = {"voc8-4-4": together, "voc8-4-1": [{"miou_base": value} for value in in_a_row]}
    for protocol, steps in runs.items():
        figures = {"preset": learning_bars.REAL, "protocol": protocol, "steps": steps}
        figures |= {"base_lost": 0.0, "background_lost": 0.0, "seconds_per_step": 1.0}
        found = [record("sats_plus", seed, miou_all=0.5) | figures for seed in range(2)]
        (tmp_path / f"learning-{protocol}.json").write_text(json.dumps(found))
    table = "\n".join(learning_bars.rows(tmp_path))
    said = (
        r"lost by `sats_plus` at once, less that in a row \(voc8-4-1\), at most 0 \| voc8-4-4 .* "
    )
    assert re.search(said + (r"\| 2 \| yes" if holds else r"\| 2 \| \*\*no\*\*"), table)
    assert re.search(r"`frozen` at once, less .* not measured", table)


def test_what_has_not_come_in_a_row_yet_is_not_compared() -> None:
    measure = learning_measures.lost_no_more_than_in_a_row("sats_plus", "voc8-4-4", "voc8-4-1")
    together = [{"miou_base": 0.9, "classes": ["a"]}, {"miou_base": 0.9, "classes": ["b", "c"]}]
    found = [
        record("sats_plus", 0) | {"protocol": "voc8-4-4", "steps": together},
        record("sats_plus", 0) | {"protocol": "voc8-4-1", "steps": [{"miou_base": 0.9}] * 2},
    ]
    assert measure(found) is None


def test_another_heads_base_version_is_not_the_one_that_is_asked_for() -> None:
    measure = learning_measures.base_at_least(0.85)
    other = record("sats@head=scaled", 0, steps=[{"miou_base": 0.1}])
    measured = measure([record("sats", 0), other])
    assert measured is not None
    assert (measured.holds, measured.text) == (True, "0.900 (one seed: no interval)")
    assert measure([other]) is None


def test_seconds_are_compared_seed_by_seed() -> None:
    records = [
        record(name, seed, seconds_per_step=seconds * (1 + seed))
        for name, seconds in (("frozen", 2.0), ("sats_plus", 40.0))
        for seed in range(2)
    ]
    measured = learning_bars.times("frozen", "sats_plus", "seconds_per_step", 0.1)(records)
    assert measured is not None
    assert measured.holds
    assert measured.text.startswith("0.050")


def test_a_seed_keeps_the_joint_that_was_taken_elsewhere() -> None:
    own = {"preset": "cpu", "seed": 0, "miou_all": 0.4, "miou_new": 0.3, "seconds_per_step": 2.0}
    of_none = {"joint_miou_all": None, "joint_miou_new": None, "joint_seconds": None}
    mine = own | of_none | {"joint_stages_epochs": []}
    mine |= learning_records.ratios(mine)
    taken = {"joint_miou_all": 0.5, "joint_miou_new": 0.6, "joint_seconds": 8.0}
    there = mine | taken | {"joint_stages_epochs": [10], "miou_all": 0.1}
    found = _with_joint(mine, [mine, there])
    assert found["miou_all"] == 0.4
    assert found["joint_stages_epochs"] == [10]
    assert (found["ratio_to_joint"], found["ratio_to_joint_new"]) == (0.4 / 0.5, 0.3 / 0.6)
    assert found["seconds_to_joint"] == 0.25
    assert _with_joint(mine, [{**there, "seed": 1}, {**there, "preset": "gpu"}]) == mine
    further = mine | taken | {"joint_stages_epochs": [15, 22], "joint_miou_all": 0.8}
    assert _with_joint(further, [there])["ratio_to_joint"] == 0.5
