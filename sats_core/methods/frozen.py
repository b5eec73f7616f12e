"""Only the classifier learns: a step in seconds, on features that stay as they are."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from sats_core.methods.expected import ALONE, rarer
from sats_core.methods.features import FeatureMemory
from sats_core.methods.fits import Rows
from sats_core.methods.method import Taught, Trainer
from sats_core.methods.realign import Seen, logits_of, realign, see
from sats_core.methods.rows import solve_rows
from sats_core.methods.sampling import PixelSample
from sats_core.settings import FrozenSettings


class Frozen(Taught):
    """Backbone and head stay as they are; rows are solved on features seen once.

    One pass over the pictures samples what the classifier sees; unbiased cross-entropy and
    distillation (MiB) over the new rows are then a small problem, solved to convergence. Where the
    version before keeps features of its classes, these are replayed beside the step's pixels; with
    `rows: all` the old rows learn from them too. With `residual` the background's row learns as
    z0 + r f, r = 0 at the start (after BARM, Zhang & Gao, ECCV 2024).
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
            seen = see(self.model, None, pictures, self.settings.pixels, trainer.seed)
        if seen is None:
            return {}
        trainer.sampled(seen.before, trainer.features)
        rows = self._solved(seen, trainer)
        if rows.gradient > self.settings.tolerance:
            trainer.warn(
                f"the rows were not solved: after {rows.iterations} steps the largest gradient "
                f"is {rows.gradient:.2g}, above the tolerance of {self.settings.tolerance:.2g}"
            )
        return rows.losses

    def _solved(self, seen: Seen, trainer: Trainer) -> Rows:
        settings, memory, check = self.settings, trainer.features, trainer.check
        if memory is not None and settings.rows == "all":
            rows, _ = realign(self.model, self.teacher, seen, memory, settings, check)
            return rows
        sample, new = seen.before, self.classes - self.old_classes
        if memory is None:
            sample = rarer(sample, self.old_classes, settings.presence or ALONE)
        else:
            own = FeatureMemory.of(sample, hides=self.old_classes)
            every = memory.among(own, settings.presence or new / (self.classes - 1))
            sample = PixelSample(every.features, every.labels, every.weights, sample.shown)
        before = self.teacher.classifier
        rows = solve_rows(sample, logits_of(before, sample.features), new, settings, check)
        self.model.classifier.put_rows(before, rows.weight, rows.bias)
        return rows
