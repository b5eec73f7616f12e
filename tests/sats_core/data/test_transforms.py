import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sats_core.data.transforms import SCALE, augment, stretch_of


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


@given(length=st.integers(1, 300), size=st.integers(1, 100), seed=st.integers(0, 2**16))
def test_a_stretch_leaves_out_nothing_that_fits_and_turns_back_behind_the_ends(
    length: int, size: int, seed: int
) -> None:
    places = stretch_of(length, size, np.random.default_rng(seed))
    assert len(places) == size
    assert places.min() >= 0
    assert places.max() < length
    assert np.abs(np.diff(places)).max(initial=0) <= 1
    assert len(set(places.tolist())) == min(length, size)


def test_crops_magnify_and_shrink_up_to_twice() -> None:
    rng = np.random.default_rng(0)
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    picture = np.repeat(ramp[:, :, None], 3, axis=2)
    crops = [augment(picture, ramp, 64, rng)[1] for _ in range(300)]
    moves = [np.abs(np.diff(marks[32].astype(int))) for marks in crops]
    fewest = min(len(np.unique(marks[32])) for marks in crops)
    assert fewest == pytest.approx(64 / SCALE[1], abs=2)
    assert max(int((move == 2).sum()) for move in moves) > 50  # every second column is left out
    assert min(int((move == 1).sum()) for move in moves) < 33  # every column comes twice


def test_what_lies_behind_the_edge_is_the_picture_mirrored() -> None:
    ramp = np.arange(32, dtype=np.uint8)[None, :]
    places = next(
        found
        for seed in range(100)
        if (found := stretch_of(32, 64, np.random.default_rng(seed)))[:2].tolist() == [0, 1]
    )
    assert ramp[0, places].tolist() == [*range(32), *reversed(range(32))]


def test_picture_and_label_stay_together() -> None:
    rng = np.random.default_rng(0)
    label = np.zeros((60, 80), np.uint8)
    label[20:40, 10:50] = 1
    picture = np.repeat(label[:, :, None] * 200, 3, axis=2)
    for _ in range(20):
        crop, marks = augment(picture, label, 64, rng)
        assert ((crop[:, :, 0] > 100) == (marks == 1)).mean() > 0.97
