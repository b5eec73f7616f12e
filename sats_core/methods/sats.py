"""SATS: self-attention transfer (Qiu et al., Pattern Recognition 2023)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sats_core.losses import (
    attention_transfer,
    scaled_attention_transfer,
    unbiased_distillation,
)
from sats_core.method_settings import SatsSettings
from sats_core.methods.finetune import at_size
from sats_core.methods.pseudo_labelling import PseudoLabelling, Supervision


class Sats(PseudoLabelling):
    """Cross-entropy on pseudo-labels + 20 x unbiased distillation + 20 x attention transfer."""

    settings: SatsSettings

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            old_logits = at_size(old.logits, labels)
            supervision = self.supervise(labels, old_logits)
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        distillation = unbiased_distillation(logits, old_logits).mean()
        transfer = attention_transfer(old.attention, new.attention, supervision.pseudo)
        transfer = transfer + scaled_attention_transfer(old.scaled, new.scaled, supervision.pseudo)
        return {
            "cross_entropy": self.supervised(logits, supervision),
            "distillation": self.settings.distillation_weight * distillation,
            "attention_transfer": self.settings.attention_weight * transfer,
        }

    def supervised(self, logits: Tensor, labels: Supervision) -> Tensor:
        """Return the cross-entropy, a scalar; here on the pseudo-labels.

        Args:
            logits: (B, C, H, W) of the new model.
            labels: what it may learn from.
        """
        return self.cross_entropy(logits, labels).mean()
