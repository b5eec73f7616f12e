"""What baselines share that hold weights: the cross-entropy says what background means."""

from torch import Tensor

from sats_core.losses import truthful_cross_entropy
from sats_core.method_settings import SupervisedSettings
from sats_core.methods.finetune import Finetune, cross_entropy
from sats_core.methods.method import WithTeacher


class Supervised(WithTeacher, Finetune):
    """A method whose labels are those of the step, background read in one of two ways."""

    settings: SupervisedSettings

    def supervised(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy, a scalar: MiB's or the plain one, as the settings say.

        Args:
            logits: (B, C, H, W) of the model that learns, at the labels' size.
            labels: (B, H, W) as in `Finetune.loss_terms`.
        """
        if self.settings.cross_entropy == "plain":
            return cross_entropy(logits, labels)
        return truthful_cross_entropy(logits, labels, self.old_classes).mean()
