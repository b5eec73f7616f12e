"""SATS with what measurably helps beside it (docs/decisions/0007)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from sats_core.losses import Total, alone, truthful_cross_entropy
from sats_core.method_settings import FitSettings, SatsPlusSettings
from sats_core.methods.method import Trainer
from sats_core.methods.pseudo_labelling import Supervision
from sats_core.methods.realign import realign
from sats_core.methods.sampling import ENOUGH, see
from sats_core.methods.sats import Sats
from sats_core.models import Segmenter


class SatsPlus(Sats):
    """Unbiased cross-entropy + 40 x unbiased distillation + 20 x attention transfer.

    What the labels call background stays "background or an old class" (MiB) instead of taking the
    opinion of an old model that may be unsure; that opinion only draws the regions whose attention
    is held. New rows start from the old classes that their pixels look like.
    """

    settings: SatsPlusSettings

    def __init__(self, model: Segmenter, old: Segmenter | None, settings: SatsPlusSettings) -> None:
        """See `Distilled`.

        Raises:
            ValueError: there is no old model.
        """
        super().__init__(model, old, settings)
        new = self.classes - self.old_classes
        device = next(model.parameters()).device
        self._responses = torch.zeros(new, self.old_classes, dtype=torch.float64, device=device)
        self._pixels = torch.zeros(new, dtype=torch.float64, device=device)

    def learn(self, trainer: Trainer) -> None:
        """See `Finetune.learn`; then realign the rows, where old classes' features are kept."""
        super().learn(trainer)
        if trainer.features is None or not self.settings.realign:
            return
        fit = FitSettings(presence=self.settings.presence)
        with trainer.precision():
            seen = see(self.model, self.teacher, trainer.look(ENOUGH), fit.pixels, trainer.seed)
        if seen is None:
            return
        old, check = self.teacher.classifier, trainer.check
        rows, memory = realign(self.model, old, seen, trainer.features, fit, check)
        if warning := rows.unsolved(fit):
            trainer.warn(warning)
        trainer.sampled(seen.after, memory)

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]], total: Total = alone) -> None:
        """See `PseudoLabelling.prepare`; then start the new rows from what the old model sees.

        Response-weighted imprinting: a row becomes the mean of the old rows, weighted by the old
        model's mean probabilities on the new class's pixels.
        """
        super().prepare(batches, total)
        responses, pixels = total(self._responses), total(self._pixels)
        shares = responses / pixels.clamp(min=1)[:, None]
        self.model.classifier.start_rows(self.teacher.classifier, shares, pixels > 0)

    def watch(self, labels: Tensor, old_logits: Tensor) -> None:
        """Add up what the old model sees on the pixels of each new class."""
        new = torch.arange(self.old_classes, self.classes, device=labels.device)
        for logits, marks in zip(old_logits.flatten(2), labels.flatten(1), strict=True):
            scores = logits.softmax(dim=0)
            shown = (marks == new[:, None]).to(scores)
            self._responses += (shown @ scores.mT).double()
            self._pixels += shown.sum(dim=1)

    def supervised(self, logits: Tensor, labels: Supervision) -> Tensor:
        """See `Sats.supervised`; here on the labels given, background meaning any old class."""
        return truthful_cross_entropy(logits, labels.given, self.old_classes).mean()
