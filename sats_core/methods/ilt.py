"""ILT: distillation of outputs and features (Michieli & Zanuttigh, ICCVW 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.losses import distillation
from sats_core.method_settings import IltSettings
from sats_core.methods.distilled import Distilled
from sats_core.methods.finetune import at_size, cross_entropy


class Ilt(Distilled):
    """Cross-entropy + 10 x distillation + 10 x squared difference of the backbone's last stage."""

    settings: IltSettings

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            old_logits = at_size(old.logits, labels)
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        outputs = distillation(logits, old_logits).mean()
        features = F.mse_loss(new.stages[-1].float(), old.stages[-1].float())
        return {
            "cross_entropy": cross_entropy(logits, labels),
            "distillation": self.settings.distillation_weight * outputs,
            "features": self.settings.feature_weight * features,
        }
