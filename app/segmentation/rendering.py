"""Masks as PNG, overlay and run lengths."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from app.inference.exported_graph import Pixels
from sats_core.classes import BACKGROUND, Catalogue, voc_colour

OPACITY = 0.5
"""How much of the class colour an overlay shows over the picture."""
OUTLINES = 400
"""An outline is one pixel wide for this many pixels of the longer side."""
_COMPRESSION = 3
"""zlib level: half the time of the default for a few per cent more bytes."""


def mask_png(mask: Pixels, catalogue: Catalogue) -> bytes:
    """Return a mask (H, W) as an 8-bit palette PNG: values are class indices."""
    return _png(_coloured(mask, catalogue))


def overlay_png(picture: Pixels, mask: Pixels, catalogue: Catalogue) -> bytes:
    """Return a picture (H, W, 3) with its classes in colour and outlined; background as it was."""
    plain = Image.fromarray(picture)
    colours = _coloured(mask, catalogue).convert("RGB")
    blended = Image.blend(plain, colours, OPACITY)
    shown = Image.composite(blended, plain, Image.fromarray(mask != BACKGROUND))
    return _png(Image.composite(colours, shown, Image.fromarray(_outlines(mask))))


def run_lengths(mask: Pixels, index: int) -> str:
    """Return the pixels of one class as the `counts` of COCO's compressed run lengths."""
    counts: bytes = coco.encode(np.asfortranarray(mask == index, dtype=np.uint8))["counts"]
    return counts.decode("ascii")


def _coloured(mask: Pixels, catalogue: Catalogue) -> Image.Image:
    colours = {c.index: c.colour for c in catalogue.classes}
    image = Image.fromarray(mask)
    image.putpalette([part for i in range(256) for part in colours.get(i, voc_colour(i))])
    return image


def _outlines(mask: Pixels) -> NDArray[np.bool_]:
    width = max(1, round(max(mask.shape) / OUTLINES))
    edge = np.zeros(mask.shape, dtype=bool)
    down = mask[width:] != mask[:-width]
    edge[width:] |= down
    edge[:-width] |= down
    right = mask[:, width:] != mask[:, :-width]
    edge[:, width:] |= right
    edge[:, :-width] |= right
    edge &= mask != BACKGROUND
    return edge


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()
