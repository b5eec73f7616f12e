"""From a picture and its label to what the model sees, in training and in evaluation.

One scale holds for both: `size` is the side of a training crop and the longer side in evaluation,
as in the published setting, where 500-pixel pictures meet 512-pixel crops.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import PositiveInt, model_validator

from sats_core.classes import IGNORE
from sats_core.settings import Record

Pixels = NDArray[np.uint8]

SCALE = (0.5, 2.0)
"""Range of the random scale in training."""
MULTIPLE = 32
"""Height and width of what the backbone sees are multiples of its deepest stride."""


def fit(height: int, width: int, longer: float) -> tuple[int, int]:
    """Return (height, width) scaled so that the longer side is `longer` pixels, 1 at least."""
    factor = longer / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def augment(
    picture: Pixels, label: Pixels, size: int, fill: tuple[int, int, int], rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Return a random `size` x `size` view: scaled 0.5 to 2, cropped, flipped one time in two.

    Args:
        picture: (H, W, 3) uint8.
        label: (H, W) uint8.
        size: side of the crop, pixels.
        fill: colour where a picture smaller than the crop leaves room; its label is 255.
        rng: the only source of chance.

    Returns:
        Picture (size, size, 3) and label (size, size).
    """
    source_height, source_width = label.shape
    height, width = fit(source_height, source_width, size * rng.uniform(*SCALE))
    top, cropped_height = _window(height, size, rng)
    left, cropped_width = _window(width, size, rng)
    # Only the part that the crop shows is resized: the window in the source's own pixels.
    box = (
        left * source_width / width,
        top * source_height / height,
        min(source_width, (left + cropped_width) * source_width / width),
        min(source_height, (top + cropped_height) * source_height / height),
    )
    shape = (cropped_width, cropped_height)
    view = Image.fromarray(picture).resize(shape, Image.Resampling.BILINEAR, box)
    marks = Image.fromarray(label).resize(shape, Image.Resampling.NEAREST, box)
    y = int(rng.integers(0, size - cropped_height + 1))
    x = int(rng.integers(0, size - cropped_width + 1))
    out = np.empty((size, size, 3), np.uint8)
    out[:] = fill
    out[y : y + cropped_height, x : x + cropped_width] = np.asarray(view)
    out_label = np.full((size, size), IGNORE, np.uint8)
    out_label[y : y + cropped_height, x : x + cropped_width] = np.asarray(marks)
    if rng.random() < 0.5:
        return np.ascontiguousarray(out[:, ::-1]), np.ascontiguousarray(out_label[:, ::-1])
    return out, out_label


def _window(length: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return start and length of a crop of at most `size` along one side."""
    if length <= size:
        return 0, length
    return int(rng.integers(0, length - size + 1)), size


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
