"""The demo from one end to the other, with so little training that its claims cannot hold."""

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from demo.plan import WAYS, Plan
from demo.run import run_demo
from demo.service import DemoError, serving
from tests.fixtures.processes import strange_packages

TRAINING = {"epochs": 1, "batch_size": 4, "gate": {"min_iou": 0}}
TINY = Plan(
    threads=1,
    size=32,
    base_pictures=20,
    step_pictures=10,
    showcase_pictures=3,
    showcase_size=64,
    base={"pretrained": False, **TRAINING},
    step=TRAINING,
)


@pytest.mark.slow
def test_the_whole_demo_runs_and_says_what_does_not_hold(tmp_path: Path):
    out = io.StringIO()
    assert run_demo(tmp_path, TINY, Console(file=out, width=120)) == 1
    said = out.getvalue()
    for words in (
        "1  learn mushroom, fish, leaf: training",
        "version 1 after",
        "2  add cup by fine-tuning",
        "version 2 after",
        "held back: the task asked not to go live",
        "3  add cup by frozen",
        "version 3 after",
        "4  add cup by SATS",
        "version 4 after",
        "showcase pictures, segmented over HTTP",
        "held-out pictures, scored by the service",
        "mIoU old classes",
        "CLAIM BROKEN",
    ):
        assert words in said
    with Image.open(tmp_path / "result.png") as figure:
        assert figure.width > (3 + len(WAYS)) * 64
    assert len(list(tmp_path.glob("result-*.png"))) == 3
    assert len(list(tmp_path.glob("showcase-*.jpg"))) == 3


def test_a_service_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ours, wherever the demo is run: not a folder called like one of our packages."""
    monkeypatch.chdir(strange_packages(tmp_path / "elsewhere"))
    monkeypatch.setattr("demo.service._environment", lambda *_: {"SATS_MAX_TRIES": "none"})
    with pytest.raises(DemoError, match=r"(?s)not start.*SATS_MAX_TRIES"), serving(tmp_path / "s"):
        pass


def test_settings_of_a_real_service_are_kept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from demo.service import _environment

    monkeypatch.setenv("SATS_DATABASE_URL", "postgresql+psycopg://somewhere/real")
    monkeypatch.setenv("SATS_THREADS", "2")
    environment = _environment(tmp_path, None)
    assert "SATS_DATABASE_URL" not in environment
    assert environment["SATS_THREADS"] == "2"
    assert environment["SATS_DATA_DIR"] == str(tmp_path / "data")
    assert _environment(tmp_path, 1)["SATS_THREADS"] == "1"


def test_every_way_starts_from_the_same_version():
    plan = Plan(seed=3)
    specs = [plan.step_spec(way) for way in WAYS]
    assert [spec.get("gate", {}).get("promote", True) for spec in specs[:-1]] == [False] * (
        len(WAYS) - 1
    )
    assert all(spec["seed"] == 3 for spec in [plan.base_spec(), *specs])
    seeds = [seed for number in range(4) for seed in Plan(seed=number).picture_seeds]
    assert len(set(seeds)) == len(seeds)
