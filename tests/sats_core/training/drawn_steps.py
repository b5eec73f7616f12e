"""Steps on drawn pictures, trained by the real loop, for tests of what is learned."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.objects import OBJECTS
from demo.pictures import Look, draw_scene
from sats_core.data.batches import StepBatches
from sats_core.data.transforms import Pixels
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.predict import labelled_input, predict
from sats_core.methods import Finetune, make_method
from sats_core.models import Segmenter
from sats_core.settings import StepSettings
from sats_core.training import loop
from sats_core.training.schedule import filled_in

SIZE = 64
EASY = Look(OBJECTS, objects=(1, 2), side=(0.5, 0.8), clutter=(0, 0))
Labelled = list[tuple[Pixels, Pixels]]


@dataclass
class Recorder:
    """In place of the loop's progress: what was told at every step.

    Attributes:
        means: by step, the loss terms' sum, mean since the epoch began.
        rates: learning rate of every step.
    """

    means: dict[int, float] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)

    def __call__(self, *_: object) -> "Recorder":
        return self

    def advance(
        self,
        _done: int,
        means: Callable[[], dict[str, dict[str, float]]],
        *,
        step: int,
        learning_rate: float,
    ) -> None:
        self.means[step] = sum(means()["losses"].values())
        self.rates.append(learning_rate)

    def end_epoch(self, *_: object, **values: object) -> None:
        pass


def scenes(names: Sequence[str], labelled: Sequence[str], count: int, seed: int) -> Labelled:
    """Draw pictures of objects; label those `labelled` by their place in `names`, from 1."""
    drawn = []
    values = np.array([0, *(i if n in labelled else 0 for i, n in enumerate(names, 1))], np.uint8)
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        scene = draw_scene(rng, SIZE, names, labelled, EASY)
        drawn.append((scene.picture, values[scene.objects]))
    return drawn


def trained(
    model: Segmenter,
    old: Segmenter | None,
    pictures: Labelled,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    **chosen: Any,
) -> tuple[Segmenter, Recorder]:
    """Train a copy of a model by the loop."""
    settings = filled_in(StepSettings(size=SIZE, **chosen), base=old is None)
    model, recorder = copy.deepcopy(model), Recorder()
    monkeypatch.setattr(loop, "Progress", recorder)
    method = make_method(settings, model, old)
    assert isinstance(method, Finetune)
    method.prepare(labelled_input(*pair, SIZE, model.eval()) for pair in pictures[:8])
    batches = StepBatches(pictures, SIZE, settings.batch_size, 0)
    work.mkdir(parents=True, exist_ok=True)
    told: list[Any] = []
    loop.train(model, method, batches, settings, work, "step", told.append, lambda: False)
    return model.eval(), recorder


def ious(model: Segmenter, pictures: Labelled) -> list[float]:
    """Return the IoU of every channel, all of which the pictures must show."""
    matrix = ConfusionMatrix(model.classifier.channels)
    for picture, label in pictures:
        matrix.add(label, predict(model, picture, SIZE))
    return [value for value in matrix.iou() if value is not None]
