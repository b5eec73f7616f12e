"""PLOP: pooled features and pseudo-labels (Douillard et al., CVPR 2021)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sats_core.losses import pod_distance, with_background_summed
from sats_core.method_settings import PlopSettings
from sats_core.methods.finetune import at_size
from sats_core.methods.pseudo_labelling import PseudoLabelling


class Plop(PseudoLabelling):
    """Cross-entropy on pseudo-labels, weighted per picture, + local POD.

    POD compares the backbone's stages, the decoder's output and the logits; its mean is over all
    of them, as in the released code.
    """

    settings: PlopSettings

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            supervision = self.supervise(labels, at_size(old.logits, labels))
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        per_pixel = self.cross_entropy(logits, supervision)
        weighted = per_pixel * supervision.kept_share[:, None, None]
        maps = zip((*old.stages, old.features), (*new.stages, new.features), strict=True)
        features = [
            self.settings.pod_weight * pod_distance(was.float(), now.float()) for was, now in maps
        ]
        last = with_background_summed(new.logits.float(), self.old_classes)
        outputs = self.settings.pod_logits_weight * pod_distance(old.logits.float(), last)
        growth = math.sqrt(self.classes / (self.classes - self.old_classes))
        pod = growth * torch.stack([*features, outputs]).mean()
        return {"cross_entropy": weighted.mean(), "pod": pod}
