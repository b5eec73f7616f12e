"""A step that diverges, and what is left of it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from sats_core.data.batches import StepBatches
from sats_core.errors import DivergedError
from sats_core.method_settings import FinetuneSettings
from sats_core.methods import BaseStep
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.training.checkpoint import NAME
from sats_core.training.loop import train
from sats_core.training.schedule import filled_in
from tests.fixtures.backbones import TINY

SIZE, BATCHES = 32, 2


class SteepInTheLastBatch(BaseStep):
    """Has a term in its last batch whose value is 0, and nothing is as steep."""

    seen = 0

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `BaseStep`."""
        terms = super().loss_terms(pictures, labels)
        self.seen += 1
        if self.seen < BATCHES:
            return terms
        zero = (0 * next(self.model.classifier.parameters())).sum()
        return {**terms, "edge": zero.sqrt()}


def test_a_gradient_without_an_end_in_the_last_batch_leaves_no_checkpoint(tmp_path: Path) -> None:
    """No loss tells of it any more, and whoever took the weights up would have none."""
    rng = np.random.default_rng(0)
    pictures = [
        (
            rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8),
            rng.integers(0, 2, (SIZE, SIZE), np.uint8),
        )
        for _ in range(2 * BATCHES)
    ]
    model = Segmenter(seeded_backbone(TINY, 0), [2])
    settings = filled_in(StepSettings(method="finetune", size=SIZE, batch_size=2), base=True)
    method = SteepInTheLastBatch(model, None, FinetuneSettings())
    batches = StepBatches(pictures, SIZE, 2, 0)
    with pytest.raises(DivergedError, match="the gradient's length is nan"):
        train(model, method, batches, settings, tmp_path, "step", lambda _: None, lambda: False)
    assert method.seen == BATCHES
    assert not (tmp_path / NAME).exists()
