"""From a picture and its label to what the model sees, in training and in evaluation.

One scale holds for both: `size` is the side of a training crop and the longer side in evaluation,
as in the published setting, where 500-pixel pictures meet 512-pixel crops.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import PositiveInt, model_validator

from sats_core.settings import Record

Pixels = NDArray[np.uint8]

AREA = (0.5, 1.0)
"""Range of a training crop's area, as a share of its picture's: MiB, PLOP and SATS draw from 0.5 to
2.0 and reject what does not fit into the picture."""
ASPECT = (3 / 4, 4 / 3)
"""Range of a training crop's width over its height."""
MULTIPLE = 32
"""Height and width of what the backbone sees are multiples of its deepest stride."""


def fit(height: int, width: int, longer: float) -> tuple[int, int]:
    """Return (height, width) scaled so that the longer side is `longer` pixels, 1 at least."""
    factor = longer / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def augment(
    picture: Pixels, label: Pixels, size: int, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Return a random resized crop, flipped one time in two.

    A window of random area and aspect ratio, brought to `size` x `size` pixels: as MiB, PLOP and
    SATS crop, so that everything in it is picture.

    Args:
        picture: (H, W, 3) uint8.
        label: (H, W) uint8.
        size: side of the crop, pixels.
        rng: the only source of chance.

    Returns:
        Picture (size, size, 3) and label (size, size).
    """
    box = _window(label.shape[0], label.shape[1], rng)
    view = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR, box)
    marks = Image.fromarray(label).resize((size, size), Image.Resampling.NEAREST, box)
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        marks = marks.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(view), np.array(marks)


def _window(height: int, width: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw (left, top, right, bottom) of a window inside height x width pixels.

    Where ten draws do not fit, as in a panorama, it is the largest window within the bounds of the
    aspect ratio.
    """
    low, high = np.log(ASPECT)
    for _ in range(10):
        area = height * width * rng.uniform(*AREA)
        ratio = np.exp(rng.uniform(low, high))
        across, down = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if across <= width and down <= height:
            break
    else:
        across, down = min(width, height * ASPECT[1]), min(height, width / ASPECT[0])
    left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
    return left, top, left + across, top + down


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
