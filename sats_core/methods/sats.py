"""SATS: self-attention transfer (Qiu et al., Pattern Recognition 2023)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sats_core.losses import attention_transfer, unbiased_distillation
from sats_core.methods.believing import Believing
from sats_core.methods.finetune import at_size, cross_entropy
from sats_core.settings import SatsSettings


class Sats(Believing):
    """Cross-entropy on pseudo-labels + 20 x unbiased distillation + 20 x attention transfer."""

    settings: SatsSettings

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            old_logits = at_size(old.logits, labels)
            seen, _ = self.seen(labels, old_logits)
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        distillation = unbiased_distillation(logits, old_logits).mean()
        transfer = attention_transfer(old.attention, new.attention, seen)
        return {
            "cross_entropy": self.supervision(logits, labels, seen),
            "distillation": self.settings.distillation_weight * distillation,
            "attention_transfer": self.settings.attention_weight * transfer,
        }

    def supervision(self, logits: Tensor, labels: Tensor, seen: Tensor) -> Tensor:  # noqa: ARG002
        """Return what labels ask of the new model, a scalar; here all that stands in `seen`.

        Args:
            logits: (B, C, H, W) of the new model.
            labels: (B, H, W) as in `loss_terms`.
            seen: (B, H, W), the same with the old model's opinion filled in.
        """
        return cross_entropy(logits, seen)
