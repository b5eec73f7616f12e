"""What PLOP and SATS share: pseudo-labels from the old model's entropy."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import IGNORE
from sats_core.losses import (
    Total,
    alone,
    entropy_pseudo_labels,
    median_thresholds,
    released_thresholds,
    truthful_cross_entropy,
    with_truth,
    without_truth,
)
from sats_core.method_settings import PseudoLabelSettings, UnsureSettings
from sats_core.methods.distilled import Distilled
from sats_core.methods.finetune import at_size
from sats_core.models import Segmenter

THRESHOLDS = {"released": released_thresholds, "median": median_thresholds}
"""How a class's threshold follows from its entropies, by the name that settings use."""


class Supervision(NamedTuple):
    """Labels of one batch.

    Attributes:
        given: (B, H, W) int64, as they were posted.
        pseudo: (B, H, W) int64, with the old model's opinion where it is sure, 255 where not.
        kept_share: (B,) share of each picture's background pixels that took a pseudo-label; 1
            without any. What a replayed picture is labelled with is no background.
    """

    given: Tensor
    pseudo: Tensor
    kept_share: Tensor


class PseudoLabelling(Distilled):
    """A method that believes the old model where its entropy is low (PLOP, section 3.3)."""

    settings: PseudoLabelSettings

    def __init__(
        self, model: Segmenter, old: Segmenter | None, settings: PseudoLabelSettings
    ) -> None:
        """See `Distilled`.

        Raises:
            ValueError: there is no old model.
        """
        super().__init__(model, old, settings)
        device = next(model.parameters()).device
        self.thresholds = torch.full((self.old_classes,), settings.entropy_floor, device=device)

    @torch.no_grad()
    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]], total: Total = alone) -> None:
        """Find each old class's threshold from the old model's entropy on the step's background."""

        def seen() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures, labels in batches:
                old_logits = at_size(self.teacher(pictures), labels)
                self.watch(labels, old_logits)
                yield labels, old_logits

        find = THRESHOLDS[self.settings.thresholds]
        found = find(seen(), self.old_classes, self.classes, self.settings.entropy_floor, total)
        # Where the losses are: a copy from the host at every step would wait for the device.
        self.thresholds = found.to(self.thresholds.device)

    def watch(self, labels: Tensor, old_logits: Tensor) -> None:
        """Look at one batch of the pass before training; here there is no need.

        Args:
            labels: (B, H, W) as in `Finetune.loss_terms`.
            old_logits: (B, C_old, H, W).
        """

    def supervise(self, labels: Tensor, old_logits: Tensor) -> Supervision:
        """Return what may be learned from labels and the old model's opinion.

        Args:
            labels: (B, H, W) as in `Finetune.loss_terms`.
            old_logits: (B, C_old, H, W).
        """
        asked = without_truth(labels, self.old_classes)
        pseudo = entropy_pseudo_labels(asked, old_logits, self.thresholds, self.classes)
        return Supervision(
            labels, with_truth(pseudo.labels, labels, self.old_classes), pseudo.kept_share
        )

    def cross_entropy(self, logits: Tensor, labels: Supervision) -> Tensor:
        """Return the cross-entropy of every pixel, (B, H, W): on the pseudo-labels.

        What the old model is unsure of counts 0, or is "background or any old class" where the
        method's settings have that choice and say so; new classes stay as they are labelled
        either way.

        Args:
            logits: (B, C, H, W) of the new model.
            labels: what it may learn from.
        """
        sure = F.cross_entropy(logits, labels.pseudo, ignore_index=IGNORE, reduction="none")
        if not (isinstance(self.settings, UnsureSettings) and self.settings.unsure == "unbiased"):
            return sure
        unsure = truthful_cross_entropy(logits, labels.given, self.old_classes)
        return torch.where(labels.pseudo == IGNORE, unsure, sure)
