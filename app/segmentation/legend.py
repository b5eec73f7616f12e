"""The strip under an overlay that names its colours."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from sats_core.classes import ClassInfo

SMALLEST, LARGEST = 10, 48
"""Size of the letters, pixels; between them it is a fortieth of the picture's width."""
LONGEST_NAME = 60


def with_legend(picture: Image.Image, classes: Sequence[ClassInfo]) -> Image.Image:
    """Return an RGB picture with a strip below it, as wide as the picture, a name for each colour.

    What does not fit into the width is cut off.
    """
    size = min(LARGEST, max(SMALLEST, picture.width // 40))
    font = ImageFont.load_default(size)
    names = [c.name[:LONGEST_NAME] for c in classes]
    places = _places([size * 5 // 2 + int(font.getlength(n)) for n in names], picture.width)
    line = size * 3 // 2
    rows = places[-1][1] + 1 if places else 0
    whole = Image.new("RGB", (picture.width, picture.height + rows * line), "white")
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for info, name, (left, row) in zip(classes, names, places, strict=True):
        top = picture.height + row * line + size // 4
        draw.rectangle((left + size // 4, top, left + size * 5 // 4, top + size), info.colour)
        draw.text((left + size * 3 // 2, top), name, "black", font)
    return whole


def _places(widths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Return where entries of these widths begin, (x, row), row after row."""
    places: list[tuple[int, int]] = []
    left = row = 0
    for width in widths:
        if left and left + width > most:
            left, row = 0, row + 1
        places.append((left, row))
        left += width
    return places
