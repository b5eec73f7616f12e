"""What became of the pixels that a version took for a class that is gone."""

from collections.abc import Callable, Collection, Iterable

import numpy as np

from sats_core.classes import BACKGROUND
from sats_core.data.transforms import Pixels
from sats_core.evaluation.predict import predict
from sats_core.models import Segmenter


def to_background(
    before: Segmenter,
    after: Segmenter,
    size: int,
    pictures: Iterable[Pixels],
    gone: Collection[int],
    seen: Callable[[], None],
) -> float | None:
    """Return the share of pixels that were taken for a class and are background now.

    Args:
        before: the model with the classes; in evaluation mode, as the other one.
        after: the model without.
        size: longer side of what they see, pixels.
        pictures: (H, W, 3) each.
        gone: channels of the classes in `before`.
        seen: called after each picture.

    Returns:
        None where no pixel was taken for one.
    """
    taken = fallen = 0
    for picture in pictures:
        was = np.isin(predict(before, picture, size), list(gone))
        taken += int(was.sum())
        fallen += int((predict(after, picture, size)[was] == BACKGROUND).sum())
        seen()
    return fallen / taken if taken else None
