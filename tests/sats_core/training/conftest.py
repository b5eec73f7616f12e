from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sats_core.events import Event
from sats_core.job import HeldOutChoice, Limits, StepJob, StepResult
from sats_core.settings import StepSettings
from sats_core.training.step import run_step
from tests.fixtures.backbones import TINY
from tests.fixtures.drawings import voc_zip

SMALL = {
    "backbone": TINY,
    "pretrained": False,
    "size": 32,
    "batch_size": 2,
    "epochs": 2,
    "method": "sats_plus",
}

Events = list[Event]


@dataclass(frozen=True)
class Ran:
    """A step that has ended, for tests that look at one and change nothing of it."""

    job: StepJob
    result: StepResult
    events: Events


def never() -> bool:
    return False


def make_job(folder: Path, dataset: Path, new: tuple[str, ...], **changes: Any) -> StepJob:
    """A tiny step in `folder`; settings are changed by name, the job by its own fields."""
    settings = {**SMALL, **changes.pop("settings", {})}
    first = changes.pop("first_index", 1)
    return StepJob(
        **{
            "dataset": dataset,
            "old_version": None,
            "new_classes": new,
            "indices": tuple(range(first, first + len(new))),
            "settings": StepSettings(**settings),
            "held_out": HeldOutChoice(),
            "earlier": (),
            "limits": Limits(),
            "backbone_dir": None,
            "threads": 1,
            "work": folder / "work",
            "result": folder / "result",
            **changes,
        }
    )


def run(job: StepJob, should_stop: Callable[[], bool] = never) -> tuple[StepResult, Events]:
    events: Events = []
    run_step(job, events.append, should_stop)
    return StepResult.model_validate_json((job.result / "result.json").read_text()), events


@pytest.fixture(scope="session")
def base_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "base.zip"
    return voc_zip(path, ["disc", "bar"], pictures=10, size=48, seed=1)


@pytest.fixture(scope="session")
def step_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "step.zip"
    return voc_zip(path, ["ring", "disc"], pictures=8, size=48, seed=2)


@pytest.fixture(scope="session")
def base_run(tmp_path_factory: pytest.TempPathFactory, base_zip: Path) -> Ran:
    """A finished base step, with what it told."""
    job = make_job(tmp_path_factory.mktemp("base"), base_zip, ("disc", "bar"))
    return Ran(job, *run(job))


@pytest.fixture(scope="session")
def base(base_run: Ran) -> StepJob:
    """A finished base step."""
    return base_run.job
