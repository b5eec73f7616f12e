"""PLOP: pooled features and pseudo-labels (Douillard et al., CVPR 2021)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import IGNORE
from sats_core.losses import pod_distance, with_background_summed
from sats_core.methods.believing import Believing
from sats_core.methods.finetune import at_size
from sats_core.settings import PlopSettings


class Plop(Believing):
    """Cross-entropy on pseudo-labels, weighted per picture, + local POD on stages and logits."""

    settings: PlopSettings

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            seen, kept = self.seen(labels, at_size(old.logits, labels))
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        per_pixel = F.cross_entropy(logits, seen, ignore_index=IGNORE, reduction="none")
        weighted = per_pixel * kept[:, None, None]
        stages = [
            self.settings.pod_weight * pod_distance(was.float(), now.float())
            for was, now in zip(old.stages, new.stages, strict=True)
        ]
        last = with_background_summed(new.logits.float(), self.old_classes)
        outputs = self.settings.pod_logits_weight * pod_distance(old.logits.float(), last)
        growth = math.sqrt(self.classes / (self.classes - self.old_classes))
        pod = growth * torch.stack([*stages, outputs]).mean()
        return {"cross_entropy": weighted.mean(), "pod": pod}
