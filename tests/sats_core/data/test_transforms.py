import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sats_core.data.transforms import AREA, ASPECT, _window, augment


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    size=st.sampled_from([32, 64]),
    seed=st.integers(0, 2**16),
)
def test_a_crop_shows_nothing_but_its_picture(
    height: int, width: int, size: int, seed: int
) -> None:
    picture = np.full((height, width, 3), 7, np.uint8)
    label = np.full((height, width), 3, np.uint8)
    crop, marks = augment(picture, label, size, np.random.default_rng(seed))
    assert crop.shape == (size, size, 3)
    assert marks.shape == (size, size)
    assert (crop == 7).all()
    assert (marks == 3).all()


@given(height=st.integers(1, 2000), width=st.integers(1, 2000), seed=st.integers(0, 2**16))
def test_a_window_lies_inside_the_picture(height: int, width: int, seed: int) -> None:
    left, top, right, bottom = _window(height, width, np.random.default_rng(seed))
    assert 0 <= left < right <= width + 1e-9
    assert 0 <= top < bottom <= height + 1e-9
    assert ASPECT[0] - 1e-9 <= (right - left) / (bottom - top) <= ASPECT[1] + 1e-9


def test_windows_of_an_ordinary_picture_have_every_area() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(500):
        left, top, right, bottom = _window(300, 400, rng)
        shares.append((right - left) * (bottom - top) / (300 * 400))
    assert min(shares) == pytest.approx(AREA[0], abs=0.02)
    assert max(shares) == pytest.approx(AREA[1], abs=0.05)


def test_picture_and_label_stay_together() -> None:
    rng = np.random.default_rng(0)
    label = np.zeros((60, 80), np.uint8)
    label[20:40, 10:50] = 1
    picture = np.repeat(label[:, :, None] * 200, 3, axis=2)
    for _ in range(20):
        crop, marks = augment(picture, label, 64, rng)
        assert ((crop[:, :, 0] > 100) == (marks == 1)).mean() > 0.97
