"""A step's gradients, made to see what they take, and forgotten."""

from dataclasses import dataclass

import torch

from sats_core.data.batches import Batch
from sats_core.methods import Finetune
from sats_core.models import Segmenter
from sats_core.training.loop import terms_of

MOST_TRIED = 2
"""Pictures; a batch's memory is that of the first and as much again for each one more."""


@dataclass(frozen=True)
class Trial:
    """Makes gradients on the first pictures of a batch.

    Attributes:
        model: that is to learn; weights and statistics stay as they are.
        method: prepared.
        batch: of `MOST_TRIED` pictures; fewer where the step has no more.
        size: of a crop, pixels.
    """

    model: Segmenter
    method: Finetune
    batch: Batch
    size: int

    def __call__(self, pictures: int, recompute: bool) -> None:
        """Run one pass on so many pictures, forward and backward."""
        kept = [buffer.clone() for buffer in self.model.buffers()]
        self.model.train_step(updates_norms=self.method.updates_norms)
        shown, labels = (tensor[:pictures] for tensor in self.batch)
        try:
            with self.model.backbone.recomputing(recompute):
                terms = terms_of(self.method.loss_terms, self.model, shown, labels, self.size)
                torch.stack(list(terms.values())).sum().backward()
        finally:
            self.model.zero_grad(set_to_none=True)
            for buffer, was in zip(self.model.buffers(), kept, strict=True):
                buffer.copy_(was)
