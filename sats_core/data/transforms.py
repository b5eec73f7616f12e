"""From a picture and its label to what the model sees, in training and in evaluation.

One scale holds for both: `size` is the side of a training crop and the longer side in evaluation,
as in the published setting, where 500-pixel pictures meet 512-pixel crops.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import PositiveInt, model_validator

from sats_core.record import Record

Pixels = NDArray[np.uint8]

SCALE = (0.5, 2.0)
"""Range of a training crop's scale, beside the one at which evaluation sees the picture (SATS,
4.1)."""
MULTIPLE = 32
"""Height and width of what the backbone sees are multiples of its deepest stride."""


def fit(height: int, width: int, longer: float) -> tuple[int, int]:
    """Return (height, width) scaled so that the longer side is `longer` pixels, 1 at least."""
    factor = longer / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def augment(
    picture: Pixels, label: Pixels, size: int, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Return a square of the picture at a random scale, flipped one time in two.

    Scales lie evenly about the one of evaluation. Where the picture is smaller than the square, it
    goes on as in a mirror, and so do its labels: nothing that is trained on, distilled or attended
    to is made up.

    Args:
        picture: (H, W, 3) uint8.
        label: (H, W) uint8.
        size: side of the crop, pixels.
        rng: the only source of chance.

    Returns:
        Picture (size, size, 3) and label (size, size).
    """
    whole_height, whole_width = label.shape
    height, width = fit(whole_height, whole_width, size * rng.uniform(*SCALE))
    rows, columns = stretch_of(height, size, rng)[:, None], stretch_of(width, size, rng)
    if rng.random() < 0.5:
        columns = columns[::-1]
    view = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
    marks = np.asarray(Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST))
    return view[rows, columns], marks[rows, columns]


def stretch_of(length: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `size` places in a row, 0 <= place < `length`; behind either end they turn back."""
    room = length - size
    first = rng.integers(min(0, room), max(0, room), endpoint=True)
    places = np.arange(first, first + size) % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)


class View(Record):
    """How a whole picture is brought to what the model sees, in evaluation and serving.

    One of three:

    Attributes:
        longest: the longer side that many pixels, the aspect ratio kept, zeros at bottom and right
            up to multiples of 32.
        inside: as large as fits into a square of that side, the aspect ratio kept, sides rounded
            down; zeros only where a side is below 32. Hugging Face's `max_height`, `max_width`.
        stretch: (height, width), whatever the aspect ratio. Hugging Face's `height`, `width`.
    """

    longest: PositiveInt | None = None
    inside: PositiveInt | None = None
    stretch: tuple[PositiveInt, PositiveInt] | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if [self.longest, self.inside, self.stretch].count(None) != 2:
            raise ValueError("a view is one of `longest`, `inside` and `stretch`")
        return self

    def shown(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) at which a picture of that size is seen."""
        if self.stretch:
            return self.stretch
        if self.inside:
            scale = min(self.inside / height, self.inside / width)
            return max(1, int(height * scale)), max(1, int(width * scale))
        return fit(height, width, self.longest or 1)

    def room(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of the model's input for a picture seen at that size."""
        if self.longest:
            return padded(height), padded(width)
        return max(MULTIPLE, height), max(MULTIPLE, width)

    def side(self) -> int:
        """Return a side for training crops: the longer one, as a multiple of 32 pixels."""
        return padded(max(self.stretch or (self.longest or self.inside or 1,)))


def evaluation_view(picture: Pixels, view: View) -> Pixels:
    """Return the picture (H, W, 3) uint8 at the size at which the model sees it."""
    height, width = view.shown(*picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def resize_label(label: Pixels, height: int, width: int) -> Pixels:
    """Return a label or prediction (H, W) at another size, by nearest neighbour."""
    return np.asarray(Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST))


def padded(length: int) -> int:
    """Return the next multiple of 32 pixels."""
    return -(-length // MULTIPLE) * MULTIPLE
