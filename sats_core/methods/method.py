"""What every method is, and what training lends it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from sats_core.methods.features import FeatureMemory
from sats_core.methods.sampling import PixelSample
from sats_core.models import Segmenter

if TYPE_CHECKING:
    from sats_core.methods.curvature import Curvature
    from sats_core.methods.finetune import Finetune


class Trainer(Protocol):
    """What training lends a method: pictures, the loop of gradient descent, a way to report.

    Attributes:
        seed: of everything that the method leaves to chance.
        features: what the version before keeps of its classifier's inputs; None: it keeps none.
    """

    seed: int
    features: FeatureMemory | None

    def look(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the step's own pictures once, as evaluation sees them.

        Normalised pictures (B, 3, H, W) with labels (B, H, W), not augmented.

        Args:
            most: pictures, spread evenly over all; None: all of them.
        """

    def descend(self, method: "Finetune") -> None:
        """Let the method prepare by a look at the pictures, then train its model by gradient
        descent on its loss terms, epoch by epoch."""

    def visit(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every picture once, the replayed ones too: the only pass of a method.

        As `look`, but it is the training itself: progress is told.
        """

    def sampled(self, sample: PixelSample, memory: FeatureMemory | None) -> None:
        """Hand over what the version may keep, as the model sees it at the end of the step.

        Without it, training makes a pass over the pictures for it.

        Args:
            sample: pixels of the step's pictures, channels as kinds.
            memory: what the version before kept.
        """

    def fitted(self, losses: Mapping[str, float]) -> None:
        """Tell that what `visit` gave is learned, with each weighted loss term at the end."""

    def warn(self, message: str) -> None:
        """Tell the user something, though the step goes on."""

    def precision(self) -> AbstractContextManager[None]:
        """Return what a pass over the pictures is computed in: autocast where that pays."""

    def check(self) -> None:
        """Raise what ends the step, where somebody asked to stop it."""


class Method(ABC):
    """How a step learns, and how it fights forgetting.

    Attributes:
        updates_norms: whether batch norm's running statistics are learned too: those of a head that
            starts from random weights, as in a base step. Others stay (`Segmenter.train_step`).
    """

    def __init__(self, model: Segmenter, old: Segmenter | None, settings: Any) -> None:
        """Take the model to train, the frozen one before it, and the method's own settings."""
        self.model = model
        self.old = old
        self.settings = settings
        self.updates_norms = old is None

    def recall(self, curvature: "Curvature | None") -> None:  # noqa: B027  # most keep none
        """Take what the version before keeps of how its loss minds each weight; None: nothing."""

    @abstractmethod
    def learn(self, trainer: Trainer) -> None:
        """Train the model in place."""


class WithTeacher(Method):
    """A method that looks at the model before the step, its teacher, which is frozen."""

    def __init__(self, model: Segmenter, old: Segmenter | None, settings: Any) -> None:
        """See `Method`.

        Raises:
            ValueError: there is no old model.
        """
        super().__init__(model, old, settings)
        if old is None:
            raise ValueError("this method needs the model before the step")
        self.teacher = old.eval().requires_grad_(False)
        self.old_classes = old.classifier.channels
        self.classes = model.classifier.channels
