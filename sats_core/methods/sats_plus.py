"""SATS with what measurably helps beside it: the default."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sats_core.losses import attention_transfer, label_guided_distillation
from sats_core.losses.score_labels import score_pseudo_labels
from sats_core.methods.finetune import at_size, cross_entropy
from sats_core.methods.taught import Taught
from sats_core.settings import SatsPlusSettings


class SatsPlus(Taught):
    """Cross-entropy on score pseudo-labels + label-guided distillation + attention transfer."""

    settings: SatsPlusSettings

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            old_logits = at_size(old.logits, labels)
            seen = score_pseudo_labels(labels, old_logits, self.settings.belief)
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        distillation = label_guided_distillation(logits, old_logits, labels)
        transfer = attention_transfer(old.attention, new.attention, seen)
        return {
            "cross_entropy": cross_entropy(logits, seen),
            "distillation": self.settings.distillation_weight * distillation.mean(),
            "attention_transfer": self.settings.attention_weight * transfer,
        }
