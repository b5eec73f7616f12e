"""Learning without forgetting (Li & Hoiem, ECCV 2016), as MiB compares it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sats_core.losses import distillation
from sats_core.method_settings import LwfSettings
from sats_core.methods.distilled import Distilled
from sats_core.methods.finetune import at_size, cross_entropy


class Lwf(Distilled):
    """Cross-entropy + 100 x distillation over the old channels."""

    settings: LwfSettings

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old_logits = at_size(self.teacher(pictures), labels)
        logits = at_size(self.model(pictures), labels)
        outputs = distillation(logits, old_logits).mean()
        return {
            "cross_entropy": cross_entropy(logits, labels),
            "distillation": self.settings.distillation_weight * outputs,
        }
