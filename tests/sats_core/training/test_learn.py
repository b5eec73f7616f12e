from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from sats_core.data.transforms import Pixels, View
from sats_core.evaluation.predict import labelled_input
from sats_core.events import Event, WarningEvent
from sats_core.job import StepJob
from sats_core.training import learn
from sats_core.training.learn import StepTrainer
from sats_core.training.loop import StoppedError
from sats_core.training.start import Start, begin
from tests.sats_core.training.conftest import make_job

BATCH = 2
SHAPES = [(20, 32), (32, 20), (20, 32), (40, 64), (20, 32), (33, 32)]
"""At 32 pixels three of one view, three of others."""


@pytest.fixture
def job(base: StepJob, step_zip: Path, tmp_path: Path) -> StepJob:
    old = base.result / "version"
    return make_job(tmp_path, step_zip, ("ring",), first_index=3, old_version=old)


@pytest.fixture
def start(job: StepJob) -> Start:
    return begin(job)


def pictures() -> list[tuple[Pixels, Pixels]]:
    rng = np.random.default_rng(0)
    return [
        (rng.integers(0, 255, (*shape, 3), np.uint8), rng.integers(0, 4, shape, np.uint8))
        for shape in SHAPES
    ]


def trainer(
    start: Start, work: Path, events: list[Event] | None = None, stop: bool = False
) -> StepTrainer:
    told = [] if events is None else events
    return StepTrainer(start, pictures(), [], work, "step", told.append, lambda: stop)


@pytest.mark.parametrize("view", [None, View(inside=40)])
def test_whole_pictures_come_in_batches_of_one_size_each(
    start: Start, tmp_path: Path, view: View | None
) -> None:
    start.model.view = view
    seen = list(trainer(start, tmp_path).look())
    assert all(1 <= len(batch) <= BATCH for batch, _ in seen)
    assert len(seen) < len(SHAPES)
    found = [pair for batch, labels in seen for pair in zip(batch, labels, strict=True)]
    expected = [labelled_input(*pair, 32, start.model) for pair in pictures()]
    assert len(found) == len(expected)
    for pixels, labels in expected:
        alike = [
            torch.equal(pixels[0], batch) and torch.equal(labels[0], marks)
            for batch, marks in found
            if pixels[0].shape == batch.shape
        ]
        assert alike.count(True) == 1


def test_a_pass_ends_where_somebody_asks_to_stop(start: Start, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        next(trainer(start, tmp_path, stop=True).look())


def test_a_pass_is_computed_as_the_training_is(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[torch.device, int]] = []

    def autocast(device: torch.device, size: int) -> nullcontext[None]:
        asked.append((device, size))
        return nullcontext()

    monkeypatch.setattr(learn, "autocast", autocast)
    with trainer(start, tmp_path).precision():
        pass
    assert asked == [(next(start.model.parameters()).device, 32)]


def test_a_methods_warning_is_an_event(start: Start, tmp_path: Path) -> None:
    events: list[Event] = []
    trainer(start, tmp_path, events).warn("not solved")
    assert events == [WarningEvent(message="not solved")]
