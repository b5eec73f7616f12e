"""Only the classifier learns: a step in seconds, on features that stay as they are."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sats_core.methods.expected import ALONE, among, rarer
from sats_core.methods.fits import Rows
from sats_core.methods.method import Taught, Trainer
from sats_core.methods.realign import realign
from sats_core.methods.rows import solve_rows
from sats_core.methods.sampling import PixelSample, PixelSampler
from sats_core.models.classifier import GrowingClassifier
from sats_core.settings import FrozenSettings


class Frozen(Taught):
    """Backbone and head stay as they are; rows are solved on features seen once.

    One pass over the pictures samples what the classifier sees; unbiased cross-entropy and
    distillation (MiB) over the rows are then a small problem, solved to convergence. Where the
    version before keeps features of its classes, these are replayed and all rows learn together;
    without them the new rows learn alone, and with `residual` the background's row too, as
    z0 + r f with r = 0 at the start (after BARM, Zhang & Gao, ECCV 2024).
    """

    settings: FrozenSettings

    def learn(self, trainer: Trainer) -> None:
        """See `Method.learn`; the pass over the pictures is all that there is."""
        trainer.fitted(self.solve(trainer.visit(), trainer))

    def solve(
        self, pictures: Iterable[tuple[Tensor, Tensor]], trainer: Trainer
    ) -> Mapping[str, float]:
        """Put solved rows into the model and return each weighted loss term at the solution.

        Where every pixel is ignored there is nothing to learn: the rows stay, no terms come back.

        Raises:
            DivergedError: the loss is not finite.
        """
        with trainer.precision():
            sample = self.sampled(pictures, trainer.seed)
        if sample is None:
            return {}
        trainer.sampled(sample)
        rows = self._solved(sample, trainer)
        if rows.gradient > self.settings.tolerance:
            trainer.warn(
                f"the rows were not solved: after {rows.iterations} steps the largest gradient "
                f"is {rows.gradient:.2g}, above the tolerance of {self.settings.tolerance:.2g}"
            )
        return rows.losses

    def _solved(self, sample: PixelSample, trainer: Trainer) -> Rows:
        settings, memory, check = self.settings, trainer.features, trainer.check
        before, now = self.teacher.classifier, self.model.classifier
        new = self.classes - self.old_classes
        if memory is None:
            sample = rarer(sample, self.old_classes, settings.presence or ALONE)
        else:
            sample = among(sample, memory, settings.presence or new / (self.classes - 1))
        old_logits = _logits(before, sample.features)
        if memory is None or settings.rows == "new":
            rows = solve_rows(sample, old_logits, new, settings, check)
            now.put_rows(before, rows.weight, rows.bias)
        else:
            rows = realign(sample, _logits(now, sample.features), old_logits, settings, check)
            now.move_rows(rows.weight, rows.bias)
        return rows

    @torch.no_grad()
    def sampled(self, pictures: Iterable[tuple[Tensor, Tensor]], seed: int) -> PixelSample | None:
        """Return pixels of the pictures, evenly over channels and pictures; None without any.

        Args:
            pictures: as `Trainer.visit` yields them.
            seed: of what is drawn.
        """
        sampler = PixelSampler(self.classes, self.settings.pixels, seed)
        for batch, labels in pictures:
            features = self.teacher.head(self.teacher.backbone(batch))
            for seen, marked in zip(features, labels, strict=True):
                sampler.add(seen, marked)
        return sampler.sample()


@torch.no_grad()
def _logits(classifier: GrowingClassifier, features: Tensor) -> Tensor:
    """Return logits (P, C) of features (P, D)."""
    logits: Tensor = classifier(features[:, :, None, None])[:, :, 0, 0]
    return logits
