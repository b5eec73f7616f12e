"""How well fresh rows find classes again on features that stay: piggyback learning.

After "Disposable Transfer Learning for Selective Source Task Unlearning" (Koh et al., ICCV 2023,
arXiv 2308.09971), section 4: what a model still knows of a task is how much of it comes back when
it is taught again with little. There the whole network is trained again; here the features stay,
as they do for whoever only has what the classifier sees.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import BACKGROUND
from sats_core.data.labels import labelled_lookup
from sats_core.data.transforms import Pixels
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.predict import labelled_input
from sats_core.method_settings import FitSettings
from sats_core.methods.finetune import at_size
from sats_core.methods.fits import Fit, Rows
from sats_core.methods.sampling import PixelSampler
from sats_core.models import Segmenter

Labelled = tuple[Pixels, Pixels, tuple[int, ...]]
"""A picture (H, W, 3), its label (H, W): 1, 2, ... the classes, 0 all else, 255 ignored; and the
classes that it is labelled for."""

SETTINGS = FitSettings(pixels=20_000, iterations=150, decay=0.001)
"""Of the rows: a quarter of a minute's descent on what a few pictures show, hardly held back."""


@torch.no_grad()
def relearned(
    model: Segmenter,
    size: int,
    taught: Iterable[Labelled],
    scored: Iterable[Labelled],
    classes: int,
    seen: Callable[[], None],
) -> float | None:
    """Teach fresh rows on some pictures and return their mean IoU on others.

    Args:
        model: whose features the rows stand on; left in evaluation mode.
        size: longer side of what it sees, pixels.
        taught: pictures that show the classes.
        scored: others that do.
        classes: how many.
        seen: called after each picture; what it raises ends it.

    Returns:
        None where no scored picture shows a class, or no taught one does.

    Raises:
        DivergedError: the rows cannot be found.
    """
    model.eval()
    sampler = PixelSampler(classes + 1, SETTINGS.pixels, seed=0)
    for picture, label, _ in taught:
        features, marks = _seen(model, size, picture, label)
        sampler.add(features[0], marks[0])
        seen()
    sample = sampler.sample()
    if sample is None or not (sample.kinds != BACKGROUND).any():
        return None
    with torch.enable_grad():
        fit = _Fresh(sample.features, sample.weights, sample.kinds, classes)
        rows = fit.solve(SETTINGS, lambda: None)
    matrix = ConfusionMatrix(classes + 1)
    for picture, label, labelled in scored:
        features, marks = _seen(model, size, picture, label)
        logits = at_size(_logits(rows, features), marks)
        answer = logits[0].argmax(dim=0).to("cpu", torch.uint8).numpy()
        truth = marks[0].to("cpu", torch.uint8).numpy()
        matrix.add_as_is(truth, answer, labelled_lookup(labelled))
        seen()
    return mean_known(matrix.iou()[1:])


def mean_known(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def gap_closed(before: float, after: float, unaware: float | None) -> float | None:
    """Return (before - after) / (before - unaware); None where there is no gap."""
    if unaware is None or before <= unaware:
        return None
    return (before - after) / (before - unaware)


def _seen(model: Segmenter, size: int, picture: Pixels, label: Pixels) -> tuple[Tensor, Tensor]:
    pixels, marks = labelled_input(picture, label, size, model)
    return model.head(model.backbone(pixels)).float(), marks


def _logits(rows: Rows, features: Tensor) -> Tensor:
    """Return (B, K + 1, h, w): the rest's logit is 0."""
    weight = rows.weight.to(features)[:, :, None, None]
    found = F.conv2d(features, weight, rows.bias.to(features))
    return F.pad(found, (0, 0, 0, 0, 1, 0))


class _Fresh(Fit):
    """Softmax regression of K classes against the rest, whose logit is 0: convex."""

    def __init__(self, features: Tensor, weights: Tensor, kinds: Tensor, classes: int) -> None:
        weights = weights.double() / weights.sum()
        super().__init__(features, weights, classes)
        self._kinds = kinds
        self._shares = torch.bincount(kinds, weights, classes + 1)[1:]

    def terms(self) -> dict[str, Tensor]:
        """See `Fit.terms`."""
        logits = F.pad(self.outputs(), (0, 0, 1, 0)).T
        unlikely = F.cross_entropy(logits, self._kinds, reduction="none")
        return {
            "cross_entropy": unlikely @ self.weights,
            "decay": SETTINGS.decay * self.decayed(self._shares),
        }
