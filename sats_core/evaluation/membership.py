"""Whether a picture's loss betrays that a version was trained on it.

The simplest attack there is, a threshold on the loss (Yeom et al., CSF 2018): whoever has a
version and a labelled picture says "trained on it" where the loss is low. Stronger attacks exist.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from sats_core.classes import IGNORE
from sats_core.data.transforms import Pixels
from sats_core.evaluation.predict import labelled_input
from sats_core.methods.finetune import at_size
from sats_core.models import Segmenter


@torch.no_grad()
def loss_where_shown(
    model: Segmenter, size: int, picture: Pixels, label: Pixels, channels: Mapping[int, int]
) -> float | None:
    """Return the mean cross-entropy over the pixels of some classes.

    Args:
        model: in evaluation mode.
        size: longer side of what it sees, pixels.
        picture: (H, W, 3).
        label: (H, W).
        channels: what each value of the label asks the model for; other values count nothing.

    Returns:
        None where the label shows none of them.
    """
    pixels, marks = labelled_input(picture, label, size, model)
    wanted = torch.full_like(marks, IGNORE)
    for value, channel in channels.items():
        wanted[marks == value] = channel
    if (wanted == IGNORE).all():
        return None
    logits = at_size(model(pixels), marks)
    return float(F.cross_entropy(logits, wanted, ignore_index=IGNORE))


def area_under_curve(members: Sequence[float], others: Sequence[float]) -> float:
    """Return how often a member's loss is lower than another picture's, ties counted half.

    By ranks (Mann-Whitney), so that it takes n log n.

    Args:
        members: losses of what was trained on, one at least.
        others: of what was not, one at least.
    """
    whole: NDArray[np.float64] = np.array([*members, *others], dtype=np.float64)
    _, places, counts = np.unique(whole, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[places]
    pairs = len(members) * len(others)
    above = ranks[: len(members)].sum() - len(members) * (len(members) + 1) / 2
    return float(1 - above / pairs)
