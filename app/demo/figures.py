"""Pictures of the result: picture, truth and every version's answer side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sats_core.classes import Colour

Labels = NDArray[np.uint8]

HEADINGS = ("picture", "labelled by hand", "before", "after fine-tuning", "after SATS")
_GAP, _BAR = 6, 26
_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_OPACITY = 0.55


@dataclass(frozen=True)
class Row:
    """One picture (h, w, 3) and labels (h, w) for every heading after the first."""

    picture: NDArray[np.uint8]
    labels: Sequence[Labels]


def draw_figure(rows: Sequence[Row], colours: Mapping[int, tuple[str, Colour]]) -> Image.Image:
    """Draw rows of overlays under headings, with a legend.

    Args:
        rows: pictures of one size.
        colours: name and colour by label; what is not in it is left as it is.
    """
    side = rows[0].picture.shape[0]
    width = len(HEADINGS) * (side + _GAP) + _GAP
    height = _BAR + len(rows) * (side + _GAP) + _BAR
    figure = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(15)
    for column, heading in enumerate(HEADINGS):
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
    """Blend every label's colour over the picture and outline its regions."""
    tint = picture.astype(np.float32)
    shown = np.zeros(labels.shape, bool)
    for label, (_, colour) in colours.items():
        tint[labels == label] = colour
        shown |= labels == label
    blended = picture * (1 - _OPACITY) + tint * _OPACITY
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    blended[edge] = 255
    return np.where((shown | edge)[..., None], blended, picture).astype(np.uint8)


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
