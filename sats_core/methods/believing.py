"""What PLOP and SATS share: pseudo-labels from the old model's entropy."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from sats_core.losses import entropy_pseudo_labels, median_thresholds, with_truth
from sats_core.methods.finetune import at_size
from sats_core.methods.taught import Taught
from sats_core.models import Segmenter
from sats_core.settings import PlopSettings, SatsSettings

Believed = PlopSettings | SatsSettings


class Believing(Taught):
    """A method that believes the old model where its entropy is low (PLOP, section 3.3)."""

    settings: Believed

    def __init__(self, model: Segmenter, old: Segmenter | None, settings: Believed) -> None:
        """See `Taught`.

        Raises:
            ValueError: there is no old model.
        """
        super().__init__(model, old, settings)
        self.thresholds = torch.full((self.old_classes,), settings.entropy_floor)

    @torch.no_grad()
    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Find each old class's median entropy over the step's background pixels."""

        def seen() -> Iterator[tuple[Tensor, Tensor]]:
            for pictures, labels in batches:
                old_logits = at_size(self.teacher(pictures), labels)
                self.watch(labels, old_logits)
                yield labels, old_logits

        self.thresholds = median_thresholds(
            seen(), self.old_classes, self.classes, self.settings.entropy_floor
        )

    def watch(self, labels: Tensor, old_logits: Tensor) -> None:
        """Look at one batch of the pass before training; here there is no need.

        Args:
            labels: (B, H, W) as in `Finetune.loss_terms`.
            old_logits: (B, C_old, H, W).
        """

    def seen(self, labels: Tensor, old_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels (B, H, W) with the old model's opinion, and the share (B,) it decided.

        Args:
            labels: (B, H, W) as in `Finetune.loss_terms`.
            old_logits: (B, C_old, H, W).
        """
        pseudo = entropy_pseudo_labels(labels, old_logits, self.thresholds, self.classes)
        return with_truth(pseudo.labels, labels, self.old_classes), pseudo.kept
