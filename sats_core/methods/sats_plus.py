"""SATS with what measurably helps beside it: the default (docs/decisions/0007)."""

from torch import Tensor

from sats_core.classes import IGNORE
from sats_core.losses import truthful_cross_entropy, unbiased_distillation
from sats_core.methods.frozen import Frozen
from sats_core.methods.method import Trainer
from sats_core.methods.pseudo_labelling import Supervision
from sats_core.methods.sats import Sats
from sats_core.settings import FrozenSettings, SatsPlusSettings


class SatsPlus(Sats):
    """Unbiased cross-entropy + 40 x unbiased distillation + 20 x attention transfer.

    What the labels call background stays "background or an old class" (MiB) instead of taking the
    opinion of an old model that may be unsure; that opinion only draws the regions whose attention
    is held. The new rows are solved alone first, then everything learns together; and where the
    labels name a new class the old model, which cannot know it, is not distilled.
    """

    settings: SatsPlusSettings

    def learn(self, trainer: Trainer) -> None:
        """See `Method.learn`: a look at the pictures, the new rows alone, gradient descent."""
        with trainer.precision():
            self.prepare(trainer.look())
        Frozen(self.model, self.teacher, FrozenSettings()).solve(trainer.look(), trainer)
        trainer.descend(self)

    def supervised(self, logits: Tensor, labels: Supervision) -> Tensor:
        """See `Sats.supervised`; here on the labels given, background meaning any old class."""
        return truthful_cross_entropy(logits, labels.given, self.old_classes).mean()

    def distilled(self, logits: Tensor, old_logits: Tensor, labels: Supervision) -> Tensor:
        """See `Sats.distilled`; a pixel that is labelled with a new class counts 0."""
        unknown = (labels.given < self.old_classes) | (labels.given == IGNORE)
        return (unbiased_distillation(logits, old_logits) * unknown).mean()
