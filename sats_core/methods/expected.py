"""A step's pixels weighted as they will come: its own pictures show more of the new classes."""

import torch

from sats_core.methods.features import FeatureMemory
from sats_core.methods.rows import FIRST_NEW_KIND, KNOWN_KIND
from sats_core.methods.sampling import PixelSample


def expected(
    sample: PixelSample, memory: FeatureMemory | None, presence: float | None
) -> PixelSample:
    """Return the pixels that stand for the pictures to come.

    With a memory, pictures like the step's are `presence` of those, and what the memory holds
    stands for the others. Without one nothing is known of the others but that fewer of them show
    a new class: its pixels count less, as if `presence` of the pictures showed it.

    Args:
        sample: of the step's pictures, of the kinds that `rows.kinds_of` gives.
        memory: what earlier steps left.
        presence: share of the pictures to come that are like the step's, 0..1.
    """
    if memory is None:
        rarer = (presence / sample.shown).clamp(max=1)
        rarer[:FIRST_NEW_KIND] = 1
        return sample._replace(weights=sample.weights * rarer[sample.kinds])
    own = sample.weights / sample.weights.sum() * presence
    old = memory.weights.to(own) / memory.weights.sum() * (1 - presence)
    return PixelSample(
        torch.cat([sample.features, memory.features.to(sample.features)]),
        torch.cat([sample.kinds, memory.labels.to(sample.kinds).clamp(max=KNOWN_KIND)]),
        torch.cat([own, old]),
        sample.shown,
    )
