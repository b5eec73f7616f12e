"""What a picture shows, as regions of Label Studio."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.inference.cutting import Segmented
from app.integrations.label_studio.brush import encode_mask
from app.integrations.label_studio.labelling import Control
from app.segmentation.polygons import Left, Polygon, polygons
from app.segmentation.regions import Region, regions
from sats_core.classes import BACKGROUND, Catalogue

TOLERANCE = 1.0
"""How far a polygon may lie from the mask's outline, pixels."""
DECIMALS = 4
"""Of per cents: a thousandth of a pixel of a picture of 1,000."""
_LEAST_POINTS = 3

JsonRegion = dict[str, Any]
Points = NDArray[np.float64]


def predicted(
    found: Segmented, catalogue: Catalogue, controls: Sequence[Control]
) -> list[JsonRegion]:
    """Return the regions of one picture: of a class that has a label, and of no other.

    A class whose label both a brush and a polygon tag have is a brush, which loses nothing.

    Raises:
        TooManyRunsError, TooLargeProblem: it is too ragged to be written.
    """
    names = {info.index: info.name for info in catalogue.classes}
    left = Left()
    shown: list[JsonRegion] = []
    for region in regions(found.mask):
        name = names[region.index]
        control = _control(name, controls)
        if region.index == BACKGROUND or control is None:
            continue
        shown += [
            _region(value, name, control, found, found.scores.get(region.index))
            for value in _values(found, region, control, left)
        ]
    return shown


def confidence(found: Segmented) -> float:
    """Return the mean, over a picture's pixels, of the probability of each one's best class."""
    counts = np.bincount(found.mask.ravel(), minlength=256)
    known = [index for index in np.flatnonzero(counts) if int(index) in found.scores]
    total = sum(int(counts[index]) for index in known)
    weighted = sum(int(counts[index]) * found.scores[int(index)] for index in known)
    return weighted / total if total else 0.0


def _control(name: str, controls: Sequence[Control]) -> Control | None:
    having = [control for control in controls if name in control.labels]
    return min(having, key=lambda control: control.kind, default=None)  # `brush` before `polygon`


def _values(
    found: Segmented, region: Region, control: Control, left: Left
) -> Iterator[dict[str, Any]]:
    if control.kind == "brushlabels":
        brush = encode_mask(found.mask == region.index)
        yield {"format": "rle", "rle": list(brush)}
        return
    height, width = found.mask.shape
    for polygon in polygons(found.mask, region, TOLERANCE, left):
        ring = joined_rings(polygon)
        if len(ring) >= _LEAST_POINTS:
            scaled = ring * 100 / (width, height)
            yield {"points": scaled.clip(0, 100).round(DECIMALS).tolist(), "closed": True}


def joined_rings(polygon: Polygon) -> Points:
    """Return a polygon with holes as one ring (n, 2): Label Studio's have no holes of their own.

    Each hole is joined to what is around it by a cut there and back, which covers nothing.
    """
    ring = _open(polygon[0])
    for hole in polygon[1:]:
        inner = _open(hole)
        if len(inner) < _LEAST_POINTS:
            continue
        at, start = _nearest(ring, inner)
        turned = np.roll(inner, -start, axis=0)
        ring = np.concatenate((ring[: at + 1], turned, turned[:1], ring[at:]))
    return ring


def _open(ring: list[list[float]]) -> Points:
    """Return a ring (n, 2) that does not end where it begins."""
    points: Points = np.array(ring, dtype=np.float64).reshape(-1, 2)
    closed = len(points) > 1 and bool((points[0] == points[-1]).all())
    return points[:-1] if closed else points


def _nearest(ring: Points, inner: Points) -> tuple[int, int]:
    """Return the places of two points, one of each ring, that are close: the best of the hole's
    first point, so that a ring of many thousands of points is no square of them."""
    at = int(np.argmin(((ring - inner[0]) ** 2).sum(axis=1)))
    return at, int(np.argmin(((inner - ring[at]) ** 2).sum(axis=1)))


def _region(
    value: dict[str, Any], name: str, control: Control, found: Segmented, score: float | None
) -> JsonRegion:
    height, width = found.mask.shape
    return {
        "id": secrets.token_hex(5),
        "from_name": control.from_name,
        "to_name": control.to_name,
        "type": control.kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
        "value": value | {control.kind: [name]},
    }
