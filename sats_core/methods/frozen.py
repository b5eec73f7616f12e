"""Only the new rows learn: a step in seconds, in which old classes lose by competition alone."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sats_core.methods.expected import expected
from sats_core.methods.method import Taught, Trainer
from sats_core.methods.rows import FIRST_NEW_KIND, as_channels, kinds_of, solve_rows
from sats_core.methods.sampling import PixelSample, PixelSampler
from sats_core.settings import FrozenSettings


class Frozen(Taught):
    """Backbone, head and old rows stay as they are; new rows are solved on features seen once.

    One pass over the pictures samples what the classifier sees; unbiased cross-entropy and
    distillation (MiB) over the new rows are then a small problem, solved to convergence. With
    `residual` the background's row learns too, as z0 + r f with r = 0 at the start (after BARM,
    Zhang & Gao, ECCV 2024), folded into the row at the end: the classifier stays a plain one.
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
        trainer.sampled(as_channels(sample, self.old_classes))
        sample = expected(sample, trainer.features, self.settings.presence)
        with torch.no_grad():
            old_logits = self.teacher.classifier(sample.features[:, :, None, None])[:, :, 0, 0]
        new = self.classes - self.old_classes
        rows = solve_rows(sample, old_logits, new, self.settings, trainer.check)
        if rows.gradient > self.settings.tolerance:
            trainer.warn(
                f"the new rows were not solved: after {rows.iterations} steps the largest gradient "
                f"is {rows.gradient:.2g}, above the tolerance of {self.settings.tolerance:.2g}"
            )
        self.model.classifier.put_rows(self.teacher.classifier, rows.weight, rows.bias)
        return rows.losses

    @torch.no_grad()
    def sampled(self, pictures: Iterable[tuple[Tensor, Tensor]], seed: int) -> PixelSample | None:
        """Return pixels of the pictures, evenly over kinds and pictures; None without any.

        Args:
            pictures: as `Trainer.visit` yields them.
            seed: of what is drawn.
        """
        kinds = FIRST_NEW_KIND + self.classes - self.old_classes
        sampler = PixelSampler(kinds, self.settings.pixels, seed)
        for batch, labels in pictures:
            features = self.teacher.head(self.teacher.backbone(batch))
            for seen, marked in zip(features, kinds_of(labels, self.old_classes), strict=True):
                sampler.add(seen, marked)
        return sampler.sample()
