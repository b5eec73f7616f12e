"""A step's pixels weighted as they will come: its own pictures show more of the new classes."""

from sats_core.methods.sampling import PixelSample

ALONE = 0.1
"""Share of the pictures to come that show a new class, where nothing is known of them."""


def rarer(sample: PixelSample, old_classes: int, presence: float) -> PixelSample:
    """Return the pixels, a new class's counting as if fewer pictures showed it.

    Args:
        sample: of the step's pictures, channels as kinds.
        old_classes: channels before the step.
        presence: share of the pictures to come that show a new class, 0..1; where fewer of the
            step's do, its pixels count as they are.
    """
    less = (presence / sample.shown).clamp(max=1)
    less[:old_classes] = 1
    return sample._replace(weights=sample.weights * less[sample.kinds])
