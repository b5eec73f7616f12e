"""Masks of single shapes that annotation files hold as PNG in base64 text."""

import base64
import zlib
from typing import Any

import numpy as np

from sats_core.data.pictures import decode_mask
from sats_core.data.readers.coco_shapes import MAX_TEXT, Mask, ShapeError
from sats_core.errors import PictureError

MAX_INFLATED = 16 * 2**20
"""Most bytes of the PNG that a compressed bitmap inflates to."""


def embedded_mask(text: Any, max_pixels: int, *, compressed: bool = False) -> Mask:
    """Return where a PNG in base64 text is not 0, (h, w).

    Args:
        text: base64.
        max_pixels: most that the PNG may have.
        compressed: whether zlib was run over the PNG; one that is none is taken as it is.

    Raises:
        ShapeError: it is none, damaged or too large.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise ShapeError(f"a mask is a PNG in base64 text of up to {MAX_TEXT} characters")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
        if compressed and not data.startswith(b"\x89PNG"):
            data = _inflated(data)
        values = decode_mask(data, max_pixels).values
    except (ValueError, zlib.error, PictureError) as error:
        raise ShapeError(f"a mask that is no PNG in base64 text: {error}") from error
    return values > 0 if values.ndim == 2 else np.any(values > 0, axis=-1)


def _inflated(data: bytes) -> bytes:
    inflating = zlib.decompressobj()
    found = inflating.decompress(data, MAX_INFLATED)
    if not inflating.eof:
        raise ShapeError(f"a mask that inflates to more than {MAX_INFLATED} bytes, or is cut off")
    return found
