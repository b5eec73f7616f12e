"""Pictures of the result: picture, truth and every version's answer side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sats_core.classes import Colour

Labels = NDArray[np.uint8]

_GAP, _BAR = 6, 26
_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_OPACITY = 0.62
_FADE = 0.55  # how much of a picture's contrast is left under an overlay


@dataclass(frozen=True)
class Row:
    """One picture (h, w, 3) and labels (h, w) for every heading after the first."""

    picture: NDArray[np.uint8]
    labels: Sequence[Labels]


def draw_figure(
    headings: Sequence[str], rows: Sequence[Row], colours: Mapping[int, tuple[str, Colour]]
) -> Image.Image:
    """Draw rows of overlays under headings, with a legend.

    Args:
        headings: of the picture and of each of a row's labels.
        rows: pictures of one size.
        colours: name and colour by label; what is not in it is left as it is.
    """
    side = rows[0].picture.shape[0]
    width = len(headings) * (side + _GAP) + _GAP
    height = _BAR + len(rows) * (side + _GAP) + _BAR
    figure = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(15)
    for column, heading in enumerate(headings):
        middle = _GAP + column * (side + _GAP) + side // 2
        draw.text((middle, _BAR // 2), heading, _INK, font, anchor="mm")
    for number, row in enumerate(rows):
        panels = [row.picture, *(overlay(row.picture, labels, colours) for labels in row.labels)]
        for column, panel in enumerate(panels):
            at = (_GAP + column * (side + _GAP), _BAR + number * (side + _GAP))
            figure.paste(Image.fromarray(panel), at)
    _draw_legend(draw, font, colours, height - _BAR // 2)
    return figure


def overlay(
    picture: NDArray[np.uint8], labels: Labels, colours: Mapping[int, tuple[str, Colour]]
) -> NDArray[np.uint8]:
    """Show every label's colour over the picture in grey, its regions outlined."""
    grey = picture.mean(axis=-1, keepdims=True) * _FADE + 255 * (1 - _FADE)
    drawn = np.repeat(grey, 3, axis=-1)
    for label, (_, colour) in colours.items():
        where = labels == label
        drawn[where] = drawn[where] * (1 - _OPACITY) + np.array(colour) * _OPACITY
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    drawn[edge] = _INK
    return drawn.astype(np.uint8)


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colours: Mapping[int, tuple[str, Colour]],
    middle: int,
) -> None:
    left = 2 * _GAP
    for name, colour in colours.values():
        draw.rectangle((left, middle - 7, left + 14, middle + 7), colour, _INK)
        draw.text((left + 20, middle), name, _INK, font, anchor="lm")
        left += 44 + int(draw.textlength(name, font))
