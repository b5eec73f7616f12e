"""Many labelled pictures, brought to what a model sees of them in evaluation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sats_core.data.batches import LabelledPictures
from sats_core.evaluation.predict import labelled_input
from sats_core.models import Segmenter


def alike(
    pictures: LabelledPictures, places: Sequence[int], size: int, model: Segmenter, at_once: int
) -> list[list[int]]:
    """Divide pictures into batches, each of pictures that a model sees at one size.

    Args:
        pictures: (H, W, 3) with labels (H, W).
        places: which of them.
        size: longer side of what the model sees, pixels.
        model: whose view is taken.
        at_once: most pictures of a batch.

    Returns:
        The places, batch by batch.
    """
    view = model.view_at(size)
    of_size: dict[tuple[int, int], list[int]] = {}
    for place in places:
        height, width = pictures[place][1].shape
        of_size.setdefault(view.room(*view.shown(height, width)), []).append(place)
    return [
        found[first : first + at_once]
        for found in of_size.values()
        for first in range(0, len(found), at_once)
    ]


def viewed(
    pictures: LabelledPictures, batch: Sequence[int], size: int, model: Segmenter
) -> tuple[Tensor, Tensor]:
    """Return one batch of `alike`: pictures (B, 3, h, w), normalised, and labels (B, h, w) int64,
    255 in the padding; on the model's device."""
    views = [labelled_input(*pictures[place], size, model) for place in batch]
    return torch.cat([pixels for pixels, _ in views]), torch.cat([labels for _, labels in views])
