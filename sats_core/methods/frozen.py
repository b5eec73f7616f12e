"""Rows of the classifier learn, and a few features for them: a step in seconds; what was, stays."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from sats_core.limits import MAX_HEAD_WIDTH
from sats_core.method_settings import FrozenSettings
from sats_core.methods.features import FeatureMemory, usual_share
from sats_core.methods.fits import Rows
from sats_core.methods.method import Trainer, WithTeacher
from sats_core.methods.realign import realign
from sats_core.methods.rows import solve_rows
from sats_core.methods.sampling import PixelSample, Seen, see
from sats_core.methods.units import learn_units

ALONE = 0.1
"""Share of the pictures to come that show a new class, where nothing is known of them."""
NO_STAGES = (
    "no units were learned, the step's rows read the head's features alone: the version before "
    "keeps no outputs of its backbone's stages, as those made by earlier releases do not, and so "
    "none after it will. An import of it with labelled pictures (`sats import --evaluate`) does"
)
NO_WIDENING = (
    "no units were learned: the version's head has a block behind it, which would mix them with "
    "its features"
)


class Frozen(WithTeacher):
    """Backbone, features and old rows stay what they are; rows are solved on what was seen once.

    Weights stay to the last bit. The head's features do too where it is not widened, and else to
    the rounding of a longer sum.

    One pass over the pictures samples what the classifier sees, and what the backbone's stages
    give. The head is widened by a few features that are learned for the new classes
    (`sats_core.methods.units`); then unbiased cross-entropy and distillation (MiB) over the new
    rows are a small problem, solved to convergence. Where the version before keeps features of its
    classes, these are replayed beside the step's pixels; with `rows: all` the old rows learn from
    them too. With `residual` the background's row learns as z0 + r f, r = 0 at the start (after
    BARM, Zhang & Gao, ECCV 2024).
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
        sample, memory = self._widened(seen.before, trainer)
        trainer.sampled(sample, memory)
        rows = self._solved(sample, memory, trainer)
        if warning := rows.unsolved(self.settings):
            trainer.warn(warning)
        return rows.losses

    def _widened(
        self, sample: PixelSample, trainer: Trainer
    ) -> tuple[PixelSample, FeatureMemory | None]:
        """Learn units and put them into the model's head, where any are asked for; return what was
        seen and what is kept as that head sees it."""
        memory, count = trainer.features, self._possible_units(sample, trainer)
        if sample.stages is None or not count:
            return sample, memory
        pixels, settings = self._weighed(sample, memory), self.settings
        settings = settings.model_copy(update={"units": count})
        old, new = self.teacher.classifier, self.classes - self.old_classes
        units = learn_units(pixels, old, new, settings, trainer.seed, trainer.check)
        self.model.widen(units.weight, units.bias)
        sample = sample._replace(features=units.beside(sample.features, sample.stages))
        if memory is not None and memory.stages is not None:
            memory = memory._replace(features=units.beside(memory.features, memory.stages))
        return sample, memory

    def _possible_units(self, sample: PixelSample, trainer: Trainer) -> int:
        """Return how many units can be learned; warn where that is fewer than were asked for."""
        wanted, width, memory = self.settings.units, self.model.head.width, trainer.features
        room = max(0, MAX_HEAD_WIDTH - width)
        if wanted and not self.model.can_widen:
            trainer.warn(NO_WIDENING)
            return 0
        if wanted and (sample.stages is None or (memory is not None and memory.stages is None)):
            trainer.warn(NO_STAGES)
            return 0
        if room < wanted:
            trainer.warn(
                f"{room or 'no'} units were learned in place of {wanted}: the head gives "
                f"{width} features already, and {MAX_HEAD_WIDTH} at most"
            )
        return min(wanted, room)

    def _solved(self, sample: PixelSample, memory: FeatureMemory | None, trainer: Trainer) -> Rows:
        settings, check = self.settings, trainer.check
        before = self.teacher.classifier.widened(self.model.head.width - self.teacher.head.width)
        if memory is not None and settings.rows == "all":
            rows, _ = realign(self.model, before, Seen(sample, sample), memory, settings, check)
            return rows
        sample, new = self._weighed(sample, memory), self.classes - self.old_classes
        rows = solve_rows(sample, before.logits(sample.features), new, settings, check)
        self.model.classifier.put_rows(before, rows.weight, rows.bias)
        return rows

    def _weighed(self, sample: PixelSample, memory: FeatureMemory | None) -> PixelSample:
        """Return the pixels that rows are solved on, each as often as pictures to come show it."""
        presence = self.settings.presence
        if memory is None:
            return rarer(sample, self.old_classes, presence or ALONE)
        share = presence or usual_share(self.old_classes, self.classes)
        return replayed(sample, memory, self.old_classes, share)


def rarer(sample: PixelSample, old_classes: int, presence: float) -> PixelSample:
    """Return the pixels, a new class's counting as if fewer pictures showed it.

    Args:
        sample: of the step's pictures, channels as kinds.
        old_classes: channels before the step.
        presence: share of the pictures to come that show a new class, 0..1; where fewer of the
            step's do, its pixels count as they are.
    """
    less = (presence / sample.shown).clamp(max=1)
    less[:old_classes] = 1
    return sample._replace(weights=sample.weights * less[sample.kinds])


def replayed(
    sample: PixelSample, memory: FeatureMemory, old_classes: int, share: float
) -> PixelSample:
    """Return the step's pixels, and beside them those that the version before keeps.

    Args:
        sample: of the step's pictures, channels as kinds.
        memory: what is kept.
        old_classes: channels before the step.
        share: of the weight that the step's pixels have, 0..1.
    """
    every = memory.among(FeatureMemory.of(sample, hides=old_classes), share)
    return PixelSample(every.features, every.labels, every.weights, sample.shown, every.stages)
