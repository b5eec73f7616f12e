"""Windows that overlap see a picture as one look would, where what is near decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.inference.windows import in_windows, places

Floats = NDArray[np.float32]
MULTIPLES = st.integers(1, 12).map(lambda n: 32 * n)


def near(pixels: Floats) -> Floats:
    """Logits (N, 2, h / 4, w / 4) of which each depends on its own 16 pixels alone."""
    count, _, height, width = pixels.shape
    means = pixels.reshape(count, 3, height // 4, 4, width // 4, 4).mean(axis=(3, 5))
    return means[:, :2]


@given(length=MULTIPLES, side=MULTIPLES)
def test_windows_cover_everything_and_none_is_larger(length: int, side: int) -> None:
    found = places(length, side)
    assert found[0] == 0
    assert all(place % 32 == 0 for place in found)
    covered = {pixel for place in found for pixel in range(place, min(place + side, length))}
    assert covered == set(range(length))
    assert max(found) + side <= max(length, side)
    assert len(set(found)) == len(found)


@settings(deadline=None, max_examples=30)
@given(height=MULTIPLES, width=MULTIPLES, side=MULTIPLES)
def test_what_depends_on_what_is_near_is_the_same(height: int, width: int, side: int) -> None:
    pixels = np.random.default_rng(0).normal(size=(3, height, width)).astype(np.float32)
    seen: list[int] = []

    def run(windows: Floats) -> Floats:
        seen.append(max(windows.shape[2:]))
        return near(windows)

    found = in_windows(pixels, side, run)
    np.testing.assert_allclose(found, near(pixels[None])[0], atol=1e-5)
    assert max(seen) <= side


def test_the_middle_of_a_window_counts_for_more_than_its_edge() -> None:
    """Two windows of 128 pixels on 224 say 0 and 1: between them is a slope."""
    said = iter([0.0, 1.0])

    def run(windows: Floats) -> Floats:
        return np.full((1, 1, 32, windows.shape[3] // 4), next(said), dtype=np.float32)

    row = in_windows(np.zeros((3, 128, 224), dtype=np.float32), 128, run)[0, 16]
    assert row[:24] == pytest.approx(0)
    assert row[32:] == pytest.approx(1)
    assert (np.diff(row[23:33]) > 0).all()
