"""Pictures in bands of rows, for what takes several bytes a pixel while it works."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BAND_PIXELS = 2**20


def row_bands(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows, about a million pixels each, for what takes several bytes a pixel."""
    step = max(1, BAND_PIXELS // max(1, width))
    return (slice(top, top + step) for top in range(0, height, step))


def value_counts(label: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many pixels of a label (H, W) have each value, (256,) int64."""
    counts = np.zeros(256, dtype=np.int64)
    for rows in row_bands(*label.shape):
        counts += np.bincount(label[rows].ravel(), minlength=256)
    return counts
