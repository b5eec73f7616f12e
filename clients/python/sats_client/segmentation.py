"""Pictures to the service, and masks of class indices back. Needs numpy and Pillow."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from sats_client.models import LearnedClass

try:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageOps
except ImportError as error:
    raise ImportError("masks need numpy and Pillow: pip install numpy pillow") from error

Mask = NDArray[np.uint8] | NDArray[np.uint16]
Picture = str | PathLike[str] | bytes | Image.Image | NDArray[np.uint8]
"""A picture's file, its bytes, an open picture, or RGB, RGBA or grey pixels, (H, W, 3), (H, W, 4)
or (H, W)."""

MASK, ARRAYS = "image/png", "application/x-npz"
_SENT_AS_IT_IS = ("RGB", "RGBA", "L", "LA", "P", "1")
_COMPRESSION = 1
"""zlib level of what is sent from memory: bytes are cheaper than time."""


@dataclass(frozen=True)
class ShownClass:
    """A class that a picture shows.

    Attributes:
        index: its value in the mask; 0 is background.
        name: what it is called.
        color: `#rrggbb`.
        pixels: how many show it.
        share: those as a share of the picture, 0 to 1.
        score: mean probability over those pixels, 0 to 1; None where no scores were asked for.
    """

    index: int
    name: str
    color: str
    pixels: int
    share: float
    score: float | None


@dataclass(frozen=True)
class Segmentation:
    """What a picture shows.

    Attributes:
        mask: class indices, (H, W), of the picture as people see it: its EXIF orientation applied.
        model: that answered.
        version: number of its version that answered.
        learned: every class of that version by its index.
        scores: probability of each pixel's class, (H, W), float16; None: not asked for.
        picture: what was segmented, as it was given.
    """

    mask: Mask
    model: str
    version: int
    learned: Mapping[int, LearnedClass] = field(repr=False)
    scores: NDArray[np.float16] | None = field(repr=False)
    picture: Picture = field(repr=False)

    @cached_property
    def classes(self) -> tuple[ShownClass, ...]:
        """Every class that the picture shows, background among them, by index."""
        counts = np.bincount(self.mask.ravel())
        sums = None
        if self.scores is not None:
            sums = np.bincount(self.mask.ravel(), self.scores.ravel().astype(np.float64))
        shown = []
        for index in np.flatnonzero(counts).tolist():
            known = self.learned[index]
            pixels = int(counts[index])
            score = None if sums is None else float(sums[index] / pixels)
            share = pixels / self.mask.size
            shown.append(ShownClass(index, known.name, known.color, pixels, share, score))
        return tuple(shown)

    def overlay(self, opacity: float = 0.5) -> Image.Image:
        """Return the picture, RGB, with its classes in their colours; background as it was."""
        picture = opened(self.picture)
        colours = np.zeros((int(self.mask.max()) + 1, 3), np.uint8)
        for index, known in self.learned.items():
            if index < len(colours):
                colours[index] = list(bytes.fromhex(known.color[1:]))
        painted = Image.blend(picture, Image.fromarray(colours[self.mask]), opacity)
        return Image.composite(painted, picture, Image.fromarray(self.mask != 0))


def encoded(picture: Picture) -> bytes:
    """Return a picture as the file that is sent.

    Raises:
        OSError: the file cannot be read.
        ValueError: the array is no picture.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | PathLike):
        return Path(picture).read_bytes()
    image = _image(picture)
    if image.mode not in _SENT_AS_IT_IS:
        image = image.convert("RGB")
    buffer = BytesIO()
    image.save(
        buffer, "PNG", compress_level=_COMPRESSION, exif=b""
    )  # its mask is to fit it as it is
    return buffer.getvalue()


def opened(picture: Picture) -> Image.Image:
    """Return a picture as the service sees it: upright, RGB, over white where it is transparent."""
    if isinstance(picture, bytes | str | PathLike):
        source = BytesIO(picture) if isinstance(picture, bytes) else Path(picture)
        with Image.open(source) as file:
            image = ImageOps.exif_transpose(file)
    else:
        image = _image(picture)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")


def _image(picture: Image.Image | NDArray[np.uint8]) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    grey = picture.ndim == 2
    if picture.dtype != np.uint8 or not (
        grey or (picture.ndim == 3 and picture.shape[2] in (3, 4))
    ):
        raise ValueError(
            "a picture is uint8, (H, W), (H, W, 3) or (H, W, 4); "
            f"this is {picture.dtype}, {picture.shape}"
        )
    return Image.fromarray(picture)


def decoded(
    body: bytes,
    form: str,
    model: str,
    version: int,
    classes: Iterable[LearnedClass],
    source: Picture,
) -> Segmentation:
    """Return what an answer says of a picture.

    Raises:
        ValueError: it is no mask.
    """
    learned = {known.index: known for known in classes}
    try:
        mask, scores = _arrays(body) if form == ARRAYS else (_pixels(body), None)
    except (OSError, EOFError, SyntaxError, BadZipFile, zlib.error) as error:
        raise ValueError("the answer is damaged, or something else") from error
    if mask.ndim != 2 or mask.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"the answer is no mask but {mask.dtype}, {mask.shape}")
    return Segmentation(mask, model, version, learned, scores, source)


def _arrays(body: bytes) -> tuple[Any, Any]:
    """Return the mask and the scores of an answer with both."""
    with np.load(BytesIO(body), allow_pickle=False) as arrays:
        return arrays["labels"], arrays["scores"]


def _pixels(body: bytes) -> Any:
    """Return the mask of an answer that is a picture."""
    with Image.open(BytesIO(body)) as image:
        return np.array(image)
