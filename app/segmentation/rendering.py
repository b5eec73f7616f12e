"""Masks, confidences and overlays as pictures."""

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import NotAcceptableProblem
from app.segmentation.legend import Legend
from app.segmentation.negotiation import Representation
from sats_core.classes import BACKGROUND, Catalogue, ClassInfo, voc_colour
from sats_core.data.bands import row_bands
from sats_core.data.transforms import Pixels

Decode = Callable[[int], Image.Image]
"""Gives the RGB picture, to be drawn on, with so many rows of white below it."""

OPACITY = 0.5
"""How much of the class colour an overlay shows over the picture."""
OUTLINES = 400
"""An outline is one pixel wide for this many pixels of the longer side."""
_COMPRESSION = 3
"""zlib level: half the time of the default for a few per cent more bytes."""
_RUNS, _PHOTOGRAPH = 3, 0
"""zlib strategies. A mask is runs of one value: looking for nothing else takes four fifths of the
time, and a third of the bytes less."""
LONGEST_WEBP = 16383
_QUALITY, _METHOD = 85, 2
"""Of WebP: as a photograph looks right, and half the time of the default method."""


def mask_png(mask: Pixels, catalogue: Catalogue) -> bytes:
    """Return a mask (H, W) as an 8-bit palette PNG: values are class indices."""
    return _png(_coloured(mask, catalogue), _RUNS)


def confidence_png(scores: NDArray[np.float16]) -> bytes:
    """Return probabilities (H, W) as an 8-bit grey PNG; 255 is 1."""
    grey = np.empty(scores.shape, dtype=np.uint8)
    for rows in row_bands(*scores.shape):
        grey[rows] = np.rint(scores[rows].astype(np.float32) * 255)
    return _png(Image.fromarray(grey))


def overlay_png(
    decode: Decode, mask: Pixels, catalogue: Catalogue, *, legend: bool = False
) -> bytes:
    """Return an RGB picture with its classes in colour and outlined; background as it was."""
    return _png(_overlay(decode, mask, catalogue, _legend(mask, catalogue, legend)))


def overlay_webp(decode: Decode, mask: Pixels, catalogue: Catalogue, *, legend: bool) -> bytes:
    """Return the same as a WebP, which is smaller and not exact.

    Raises:
        NotAcceptableProblem: a side is longer than a WebP's may be; nothing was decoded.
    """
    strip = _legend(mask, catalogue, legend)
    longest = max(mask.shape[0] + strip.height, mask.shape[1])
    if longest > LONGEST_WEBP:
        raise NotAcceptableProblem(
            f"no side of a WebP is longer than {LONGEST_WEBP} pixels; this one would have "
            f"{longest}: accept `{Representation.OVERLAY.value}`"
        )
    buffer = BytesIO()
    image = _overlay(decode, mask, catalogue, strip)
    image.save(buffer, "WEBP", quality=_QUALITY, method=_METHOD)
    return buffer.getvalue()


def _overlay(decode: Decode, mask: Pixels, catalogue: Catalogue, strip: Legend) -> Image.Image:
    """Draw on the picture itself, band by band: a copy of it takes four bytes a pixel."""
    picture = decode(strip.height)
    for rows in row_bands(*mask.shape):
        plain = picture.crop((0, rows.start, picture.width, rows.start + len(mask[rows])))
        colours = _coloured(mask[rows], catalogue).convert("RGB")
        blended = Image.blend(plain, colours, OPACITY)
        shown = Image.composite(blended, plain, Image.fromarray(mask[rows] != BACKGROUND))
        outlined = Image.composite(colours, shown, Image.fromarray(_outlines(mask, rows)))
        picture.paste(outlined, (0, rows.start))
    strip.draw(picture, mask.shape[0])
    return picture


def _legend(mask: Pixels, catalogue: Catalogue, asked: bool) -> Legend:
    """Return the legend of the classes that a mask shows; one of none where none is asked for."""
    counts = Image.fromarray(mask).histogram() if asked else [0] * 256
    named = [c for c in catalogue.classes if counts[c.index] and c.index != BACKGROUND]
    return Legend(named, mask.shape[1])


def _coloured(mask: Pixels, catalogue: Catalogue) -> Image.Image:
    image = Image.fromarray(mask)
    image.putpalette(_palette(catalogue.classes))
    return image


@lru_cache(maxsize=64)
def _palette(classes: tuple[ClassInfo, ...]) -> bytes:
    """Return the colours of all values that a mask can have, red, green and blue after another."""
    colours = {c.index: c.colour for c in classes}
    return bytes(part for i in range(256) for part in colours.get(i, voc_colour(i)))


def _outlines(mask: Pixels, rows: slice) -> NDArray[np.bool_]:
    """Return where the outlines lie in some rows of a mask; what is next to them has a say."""
    width = max(1, round(max(mask.shape) / OUTLINES))
    above = max(0, rows.start - width)
    near = mask[above : rows.stop + width]
    edge = np.zeros(near.shape, dtype=bool)
    down = near[width:] != near[:-width]
    edge[width:] |= down
    edge[:-width] |= down
    right = near[:, width:] != near[:, :-width]
    edge[:, width:] |= right
    edge[:, :-width] |= right
    edge &= near != BACKGROUND
    return edge[rows.start - above :][: len(mask[rows])]


def _png(image: Image.Image, kind: int = _PHOTOGRAPH) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=_COMPRESSION, compress_type=kind)
    return buffer.getvalue()
