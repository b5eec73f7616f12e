"""The strip under an overlay that names its colours."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from sats_core.classes import ClassInfo

SMALLEST, LARGEST = 10, 48
"""Size of the letters, pixels; between them it is a fortieth of the picture's width."""
LONGEST_NAME = 60


class Legend:
    """A strip as wide as the picture above it, a name for each colour.

    What does not fit into the width is cut off.

    Attributes:
        height: pixels.
    """

    def __init__(self, classes: Sequence[ClassInfo], width: int) -> None:
        self._size = min(LARGEST, max(SMALLEST, width // 40))
        self._font = ImageFont.load_default(self._size)
        self._classes = classes
        lengths = (self._font.getlength(c.name[:LONGEST_NAME]) for c in classes)
        self._places = _places([self._size * 5 // 2 + int(n) for n in lengths], width)
        self._line = self._size * 3 // 2
        self.height = (self._places[-1][1] + 1 if self._places else 0) * self._line

    def draw(self, image: Image.Image, top: int) -> None:
        """Draw on a white strip of an RGB image that begins at row `top`."""
        size, draw = self._size, ImageDraw.Draw(image)
        for info, (left, row) in zip(self._classes, self._places, strict=True):
            y = top + row * self._line + size // 4
            draw.rectangle((left + size // 4, y, left + size * 5 // 4, y + size), info.colour)
            name = info.name[:LONGEST_NAME]
            draw.text((left + size * 3 // 2, y), name, "black", self._font)


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
