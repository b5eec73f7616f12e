"""What a base step runs, whatever its task's method."""

from collections.abc import Mapping

from torch import Tensor

from sats_core.methods.finetune import Finetune, at_size, cross_entropy


class BaseStep(Finetune):
    """Cross-entropy, and what the head asks for of itself: all that is shown is labelled here."""

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        logits, seen = self.model.look(pictures)
        entropy = cross_entropy(at_size(logits, labels), labels)
        return {"cross_entropy": entropy, **self.model.head.terms(seen, labels)}
