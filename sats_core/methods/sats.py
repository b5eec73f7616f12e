"""SATS: self-attention transfer (Qiu et al., Pattern Recognition 2023)."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from sats_core.losses import (
    attention_transfer,
    entropy_pseudo_labels,
    median_thresholds,
    unbiased_distillation,
)
from sats_core.methods.finetune import Finetune, at_size, cross_entropy, frozen
from sats_core.models import Segmenter
from sats_core.settings import SatsSettings


class Sats(Finetune):
    """Cross-entropy on pseudo-labels + 20 x unbiased distillation + 20 x attention transfer."""

    settings: SatsSettings

    def __init__(self, model: Segmenter, old: Segmenter | None, settings: SatsSettings) -> None:
        """See `Finetune`; the old model is frozen.

        Raises:
            ValueError: there is no old model.
        """
        super().__init__(model, old, settings)
        self.teacher = frozen(old)
        self.old_classes = self.teacher.classifier.channels
        self.classes = model.classifier.channels
        self.thresholds = torch.full((self.old_classes,), settings.entropy_floor)

    @torch.no_grad()
    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Find each old class's median entropy over the step's background pixels."""

        def seen() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures, labels in batches:
                yield labels, at_size(self.teacher(pictures), labels)

        self.thresholds = median_thresholds(
            seen(), self.old_classes, self.classes, self.settings.entropy_floor
        )

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            old_logits = at_size(old.logits, labels)
            pseudo = entropy_pseudo_labels(labels, old_logits, self.thresholds, self.classes)
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        distillation = unbiased_distillation(logits, old_logits).mean()
        transfer = attention_transfer(old.attention, new.attention, pseudo.labels)
        return {
            "cross_entropy": cross_entropy(logits, pseudo.labels),
            "distillation": self.settings.distillation_weight * distillation,
            "attention_transfer": self.settings.attention_weight * transfer,
        }
