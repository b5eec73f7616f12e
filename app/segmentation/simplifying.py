"""Closed rings with fewer points, after Douglas and Peucker, many rings at once."""

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""(n, 2) x and y in pixels from the picture's upper left corner; the last point is the first."""
Places = NDArray[np.int64]
Kept = NDArray[np.bool_]

LEAST_TOLERANCE = 0.1
"""Below it an outline of pixels keeps every corner."""
MOST_LEVELS = 32
"""After so many a stretch is halved wherever it is far: the time grows with the points alone."""
_TINY = 5
"""Points of a pixel's own ring: it keeps them."""
_EQUAL = 1e-9


def kept_points(points: Ring, bounds: Places, tolerance: float) -> Kept:
    """Return which points of closed rings stay.

    A ring that would collapse into a line is simplified less.

    Args:
        points: (n, 2) of all rings, one ring after another.
        bounds: (r + 1,) where each ring begins, and n.
        tolerance: how far what is left out may lie from the line, pixels.
    """
    corners = np.ones(len(points), dtype=bool)
    steps = np.diff(points, axis=0)
    across = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
    corners[1:-1] = across != 0
    corners[bounds[:-1]] = corners[bounds[1:] - 1] = True
    # Most of an outline of pixels runs straight on.
    places = np.flatnonzero(corners)
    begins = np.concatenate(([0], np.cumsum(corners)))[bounds]
    kept = np.zeros(len(points), dtype=bool)
    kept[places[_kept_corners(points[places], begins, tolerance)]] = True
    return kept


def _kept_corners(points: Ring, bounds: Places, tolerance: float) -> Kept:
    firsts, lasts = bounds[:-1], bounds[1:] - 1
    kept = np.zeros(len(points), dtype=bool)
    kept[firsts] = kept[lasts] = True
    tiny = lasts - firsts < _TINY
    kept[_between(firsts[tiny], lasts[tiny])] = True
    firsts, lasts = firsts[~tiny], lasts[~tiny]
    while len(firsts):
        _simplify(points, firsts, lasts, tolerance, kept)
        counts = np.concatenate(([0], np.cumsum(kept)))
        lines = counts[lasts + 1] - counts[firsts] < 4
        if tolerance == 0:
            break
        firsts, lasts = firsts[lines], lasts[lines]
        tolerance = tolerance / 4 if tolerance > LEAST_TOLERANCE else 0.0
    return kept


def _simplify(points: Ring, firsts: Places, lasts: Places, tolerance: float, kept: Kept) -> None:
    """Mark what stays of rings: level by level all stretches that are still open."""
    least = -1.0  # a ring is always cut where it is farthest from its first point
    for level in range(len(points)):
        open_ = lasts - firsts > 1
        firsts, lasts = firsts[open_], lasts[open_]
        if not len(firsts):
            return
        far, middles = _farthest(points, firsts, lasts, least, halved=level > MOST_LEVELS)
        firsts, lasts, least = firsts[far], lasts[far], tolerance
        kept[middles] = True
        firsts, lasts = np.concatenate((firsts, middles)), np.concatenate((middles, lasts))


def _farthest(
    points: Ring, firsts: Places, lasts: Places, tolerance: float, *, halved: bool
) -> tuple[Kept, Places]:
    """Return which stretches lie farther from their line than allowed, and where to cut those.

    It is where they lie farthest; of equal points the one nearest the middle, so that a stretch of
    equal steps is not cut one by one. With `halved` it is the middle.
    """
    lengths = lasts - firsts - 1
    starts = np.cumsum(lengths) - lengths
    places = _between(firsts, lasts)
    stretch = np.repeat(np.arange(len(firsts)), lengths)
    distances = _distances(points, places, firsts[stretch], lasts[stretch])
    most = np.maximum.reduceat(distances, starts)
    far = most > tolerance
    middles = (firsts + lasts) // 2
    if not halved:
        off = np.abs(places - middles[stretch])
        off[distances < most[stretch] - _EQUAL] = len(points)
        nearest = np.minimum.reduceat(off, starts)
        hits = np.flatnonzero(off == nearest[stretch])
        middles[stretch[hits[::-1]]] = places[hits[::-1]]
    return far, middles[far]


def _between(firsts: Places, lasts: Places) -> Places:
    """Return the places that lie between others, stretch after stretch."""
    lengths = lasts - firsts - 1
    starts = np.cumsum(lengths) - lengths
    found: Places = np.arange(lengths.sum()) + np.repeat(firsts + 1 - starts, lengths)
    return found


def _distances(points: Ring, places: Places, firsts: Places, lasts: Places) -> Ring:
    """Return how far points lie from the lines between two others, or from their one point."""
    start = points[firsts]
    along, offset = points[lasts] - start, points[places] - start
    length = np.hypot(along[:, 0], along[:, 1])
    across = np.abs(along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0])
    closed = length == 0
    across[closed] = np.hypot(offset[closed, 0], offset[closed, 1])
    length[closed] = 1
    return np.asarray(across / length)
