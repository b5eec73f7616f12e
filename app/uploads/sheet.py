"""The contact sheet of an upload: some of its pictures with their labels in colour."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from sats_core.classes import BACKGROUND, IGNORE, voc_colour
from sats_core.data.readers import LabelledPicture, Reader
from sats_core.errors import DatasetError

TILE = 320
"""Pixels of a tile's sides; a picture lies in the middle of its own."""
COLUMNS = 4
GAP = 8
OPACITY = 0.55
_IGNORED = (128, 128, 128)


def contact_sheet(reader: Reader, positions: Sequence[int]) -> bytes:
    """Return a PNG of these pictures, four in a row; one that cannot be read is an empty tile."""
    rows = -(-len(positions) // COLUMNS)
    columns = min(len(positions), COLUMNS)
    size = (columns * (TILE + GAP) - GAP, rows * (TILE + GAP) - GAP)
    sheet = Image.new("RGBA", size)
    for number, position in enumerate(positions):
        try:
            tile = _tile(reader.read_small(reader.ids[position], TILE))
        except DatasetError:
            continue  # the look names it
        left = number % COLUMNS * (TILE + GAP) + (TILE - tile.width) // 2
        top = number // COLUMNS * (TILE + GAP) + (TILE - tile.height) // 2
        sheet.paste(tile, (left, top))
    buffer = BytesIO()
    sheet.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _tile(one: LabelledPicture) -> Image.Image:
    whole = Image.fromarray(one.picture)
    scale = TILE / max(whole.size)
    picture = whole.resize([max(1, round(side * scale)) for side in whole.size])
    label = Image.fromarray(one.label).resize(picture.size, Image.Resampling.NEAREST)
    blended = Image.blend(picture, _coloured(label), OPACITY)
    labelled = np.asarray(label) != BACKGROUND
    return Image.composite(blended, picture, Image.fromarray(labelled))


def _coloured(label: Image.Image) -> Image.Image:
    colours = [voc_colour(value) if value != IGNORE else _IGNORED for value in range(256)]
    coloured = label.copy()
    coloured.putpalette([part for colour in colours for part in colour])
    return coloured.convert("RGB")
