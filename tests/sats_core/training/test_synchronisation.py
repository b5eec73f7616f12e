from pathlib import Path

import numpy as np
import pytest
import torch

from sats_core.data.batches import StepBatches
from sats_core.evaluation.predict import normalise
from sats_core.events import Event
from sats_core.methods import METHODS, Finetune, make_method
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.training import loop
from sats_core.training.schedule import filled_in
from tests.fixtures.gpu import on_gpu

OLD, NEW = 3, 2
DESCENDING = sorted(name for name, kind in METHODS.items() if issubclass(kind, Finetune))
WARM, LAST = 1, 4
"""Steps: what is made once, workspaces and plans, may wait; the end of an epoch does."""


class Watch:
    """In place of the loop's progress: lets no step between `WARM` and `LAST` wait.

    Attributes:
        watched: steps that were made so.
    """

    watched: int

    def __init__(self, *_: object) -> None:
        type(self).watched = 0

    def advance(self, *_: object, step: int, **values: object) -> None:
        type(self).watched += WARM < step <= LAST
        torch.cuda.set_sync_debug_mode("error" if WARM <= step < LAST else "default")

    def end_epoch(self, *_: object, **values: object) -> None:
        pass


@on_gpu
@pytest.mark.parametrize("name", DESCENDING)
def test_a_training_step_never_waits_for_the_device(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "Progress", Watch)
    rng = np.random.default_rng(0)
    pictures = [
        (
            rng.integers(0, 255, (64, 64, 3), np.uint8),
            rng.integers(0, OLD + NEW, (64, 64), np.uint8),
        )
        for _ in range(2 * LAST)
    ]
    old = Segmenter(seeded_backbone("pvt_v2_b0", 0), [OLD]).to("cuda")
    model = Segmenter(seeded_backbone("pvt_v2_b0", 0), [OLD])
    model.classifier.grow(NEW)
    model.to("cuda")
    chosen = StepSettings(method=name, size=64, batch_size=2, epochs=1)
    settings = filled_in(chosen, base=False)
    method = make_method(settings, model, old)
    assert isinstance(method, Finetune)
    shown, labels = (torch.from_numpy(array)[None].to("cuda") for array in pictures[0])
    method.prepare([(normalise(shown.permute(0, 3, 1, 2), model), labels.long())])
    batches = StepBatches(pictures, 64, 2, 0)
    events: list[Event] = []
    try:
        loop.train(model, method, batches, settings, tmp_path, "step", events.append, lambda: False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert Watch.watched == LAST - WARM
