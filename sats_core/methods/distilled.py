"""What every method with an old model shares: that there is one, and that it is frozen."""

from typing import Any

from sats_core.methods.finetune import Finetune
from sats_core.models import Segmenter


class Distilled(Finetune):
    """A method that distils the model before the step, its teacher, into the one that learns."""

    def __init__(self, model: Segmenter, old: Segmenter | None, settings: Any) -> None:
        """See `Finetune`; the old model is frozen.

        Raises:
            ValueError: there is no old model.
        """
        super().__init__(model, old, settings)
        if old is None:
            raise ValueError("this method needs the model before the step")
        self.teacher = old.eval().requires_grad_(False)
        self.old_classes = old.classifier.channels
        self.classes = model.classifier.channels
