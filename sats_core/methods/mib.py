"""MiB: modelling the background (Cermelli et al., CVPR 2020)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sats_core.losses import truthful_cross_entropy, unbiased_distillation
from sats_core.method_settings import MibSettings
from sats_core.methods.distilled import Distilled
from sats_core.methods.finetune import at_size


class Mib(Distilled):
    """Unbiased cross-entropy + 40 x unbiased distillation."""

    settings: MibSettings

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old_logits = at_size(self.teacher(pictures), labels)
        logits = at_size(self.model(pictures), labels)
        outputs = unbiased_distillation(logits, old_logits).mean()
        return {
            "cross_entropy": truthful_cross_entropy(logits, labels, self.old_classes).mean(),
            "distillation": self.settings.distillation_weight * outputs,
        }
