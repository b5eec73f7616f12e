"""Pictures in bands of rows, for what takes several bytes a pixel while it works."""

from collections.abc import Iterator

BAND_PIXELS = 2**20


def row_bands(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows, about a million pixels each, for what takes several bytes a pixel."""
    step = max(1, BAND_PIXELS // max(1, width))
    return (slice(top, top + step) for top in range(0, height, step))
