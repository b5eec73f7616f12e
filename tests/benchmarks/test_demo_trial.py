import json
import os
from contextlib import suppress
from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest

from app.cli.demo import demo
from benchmarks import demo_trial
from benchmarks.demo_trial import Run, finished, planned, summary, take, write
from demo.plan import Plan
from tests.demo.test_run import TINY


def record(seed: int, threads: int, iou: float, lost: float, seconds: float) -> dict[str, object]:
    return {
        "seed": seed,
        "threads": threads,
        "beside_a_busy_loop": Run(seed, threads).busy,
        "seconds": seconds,
        "ways": {"sats": {"new_class_iou": iou, "old_classes_lost": lost}},
    }


def test_the_worst_run_decides(tmp_path: Path) -> None:
    good = [record(0, 1, 0.7, 0.0, 200), record(1, 1, 0.66, 0.01, 400), record(0, 2, 0.7, 0, 400)]
    assert all(summary(good)["holds"].values()), "otherwise than by default it may take longer"
    found = summary([*good, record(2, 2, 0.64, 0.031, 500), record(4, 1, 0.7, 0.0, 301)])
    assert not any(found["holds"].values())
    assert found["least_new_class_iou"] == 0.64
    write(good, "the command", tmp_path)
    assert json.loads((tmp_path / "demo.json").read_text())["command"] == "the command"


def test_what_is_timed_is_the_demo_as_it_is_started() -> None:
    assert signature(demo).parameters["threads"].default == demo_trial.BY_DEFAULT


def test_half_of_the_runs_share_the_machine() -> None:
    runs = [Run(seed, threads) for seed in range(6) for threads in (1, 2)]
    assert sum(run.busy for run in runs) == len(runs) / 2
    assert len({run.name for run in runs}) == len(runs)


def test_the_busy_loop_ends_with_what_it_disturbs(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = demo_trial.subprocess.Popen

    def noted(command: list[str]) -> object:
        started.append(popen(command))
        return started[-1]

    monkeypatch.setattr(demo_trial.subprocess, "Popen", noted)
    with suppress(KeyError), demo_trial.busy_loop(True):
        os.kill(started[0].pid, 0)
        raise KeyError
    assert started[0].returncode is not None
    with demo_trial.busy_loop(False):
        assert len(started) == 1


def test_a_run_of_another_demo_is_taken_again(tmp_path: Path) -> None:
    run, plan = Run(0, 1), Plan(seed=0, threads=1)
    assert finished(run, plan, tmp_path) is None
    kept = {**record(0, 1, 0.7, 0.0, 200), "plan": planned(plan)}
    (tmp_path / f"{run.name}.json").write_text(json.dumps(kept))
    assert finished(run, plan, tmp_path) == kept
    assert finished(run, replace(plan, base_pictures=plan.base_pictures + 1), tmp_path) is None


@pytest.mark.slow
def test_a_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = take(Run(1, 1), TINY, tmp_path)
    assert taken["beside_a_busy_loop"]
    assert set(taken["ways"]) == {"finetuned", "frozen", "sats"}
    assert [path.name for path in tmp_path.iterdir()] == ["seed1-threads1.json"]
    assert taken["broken_claims"], "a minute of training cannot hold them"

    def never(*_: object) -> None:
        raise AssertionError("a finished run is taken again")

    monkeypatch.setattr(demo_trial, "learn_all", never)
    kept = taken | {"plan": planned(Plan(seed=0, threads=1))}
    (tmp_path / "seed0-threads1.json").write_text(json.dumps(kept))
    demo_trial.main(1, "1", tmp_path, tmp_path / "results")
    assert json.loads((tmp_path / "results" / "demo.json").read_text())["summary"]["runs"] == 1
