"""What a version keeps of its classifier's inputs for the steps after it."""

from collections.abc import Callable

import numpy as np
import torch

from sats_core.data.batches import LabelledPictures
from sats_core.evaluation.predict import labelled_input
from sats_core.methods.sampling import PixelSample, PixelSampler
from sats_core.models import Segmenter
from sats_core.training.loop import StoppedError

MOST_PICTURES = 1000
"""That are looked at for it, spread evenly: a sample of thousands of pixels needs no more."""


@torch.no_grad()
def seen_by_classifier(
    model: Segmenter,
    pictures: LabelledPictures,
    size: int,
    pixels: int,
    seed: int,
    should_stop: Callable[[], bool],
) -> PixelSample | None:
    """Return a sample of labelled pictures as the classifier sees them, kinds being channels.

    Args:
        model: after the step.
        pictures: (H, W, 3) with their labels (H, W).
        size: longer side of what the model sees, pixels.
        pixels: to draw, evenly over the classes.
        seed: of the draw.
        should_stop: asked before every picture.

    Returns:
        None where every pixel is ignored.

    Raises:
        StoppedError: `should_stop` said yes.
    """
    model.eval()
    sampler = PixelSampler(model.classifier.channels, pixels, seed)
    chosen = np.linspace(0, len(pictures) - 1, min(MOST_PICTURES, len(pictures))).astype(int)
    for index in chosen.tolist():
        if should_stop():
            raise StoppedError
        inputs, labels = labelled_input(*pictures[index], size, model)
        sampler.add(model.head(model.backbone(inputs))[0], labels[0])
    return sampler.sample()
