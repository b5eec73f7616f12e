"""Masks as PNG, overlay and run lengths."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from app.inference.exported_graph import Pixels
from sats_core.classes import BACKGROUND, Catalogue, voc_colour
from sats_core.data.pictures import row_bands

OPACITY = 0.5
"""How much of the class colour an overlay shows over the picture."""
OUTLINES = 400
"""An outline is one pixel wide for this many pixels of the longer side."""
_COMPRESSION = 3
"""zlib level: half the time of the default for a few per cent more bytes."""


def mask_png(mask: Pixels, catalogue: Catalogue) -> bytes:
    """Return a mask (H, W) as an 8-bit palette PNG: values are class indices."""
    return _png(_coloured(mask, catalogue))


def overlay_png(picture: Image.Image, mask: Pixels, catalogue: Catalogue) -> bytes:
    """Return an RGB picture with its classes in colour and outlined; background as it was.

    Draws on the picture itself, band by band: a copy of it takes four bytes a pixel.
    """
    for rows in row_bands(*mask.shape):
        plain = picture.crop((0, rows.start, picture.width, rows.start + len(mask[rows])))
        colours = _coloured(mask[rows], catalogue).convert("RGB")
        blended = Image.blend(plain, colours, OPACITY)
        shown = Image.composite(blended, plain, Image.fromarray(mask[rows] != BACKGROUND))
        outlined = Image.composite(colours, shown, Image.fromarray(_outlines(mask, rows)))
        picture.paste(outlined, (0, rows.start))
    return _png(picture)


def run_lengths(mask: Pixels, index: int) -> str:
    """Return the pixels of one class as the `counts` of COCO's compressed run lengths."""
    counts: bytes = coco.encode(np.asfortranarray(mask == index, dtype=np.uint8))["counts"]
    return counts.decode("ascii")


def _coloured(mask: Pixels, catalogue: Catalogue) -> Image.Image:
    colours = {c.index: c.colour for c in catalogue.classes}
    image = Image.fromarray(mask)
    image.putpalette([part for i in range(256) for part in colours.get(i, voc_colour(i))])
    return image


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


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()
