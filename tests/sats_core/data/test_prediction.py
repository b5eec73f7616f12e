import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sats_core.data.prediction import LEAST_SHARE, Prediction, best_channels, scored_tiles
from tests.fixtures.examples import examples


def drawn(seed: int, classes: int, height: int, width: int, spread: float = 4) -> Prediction:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=spread, size=(classes, height, width)).astype(np.float32)
    return Prediction(logits, height, width)


def enlarged(prediction: Prediction, height: int, width: int) -> torch.Tensor:
    whole = torch.from_numpy(prediction.logits)[None].double()
    return F.interpolate(whole, (height, width), mode="bilinear", align_corners=False)[0]


def assert_best(channels: np.ndarray, logits: torch.Tensor) -> None:
    """Where two classes are equal to rounding, either is right."""
    taken = logits.gather(0, torch.from_numpy(channels)[None].long())[0]
    assert (logits.amax(0) - taken).max() < 1e-5


@settings(deadline=None, max_examples=examples(60))
@given(
    seed=st.integers(0, 1000),
    classes=st.integers(1, 7),
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_labels_and_scores_are_of_the_enlarged_logits(
    seed: int, classes: int, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    prediction = drawn(seed, classes, *grid)
    logits = enlarged(prediction, *size)
    assert_best(best_channels(prediction, *size), logits)
    scores = logits.softmax(0).amax(0).numpy()
    seen = np.zeros(size, dtype=int)
    for tile in scored_tiles(prediction, *size):
        where = tile.rows, tile.columns
        seen[where] += 1
        assert_best(tile.channels, logits[:, tile.rows, tile.columns])
        excess = tile.scores - scores[where]
        assert -1e-5 <= excess.min() <= excess.max() <= LEAST_SHARE
    assert (seen == 1).all()


def test_padding_below_and_right_is_not_shown() -> None:
    whole = drawn(0, 3, 16, 24)
    half = Prediction(whole.logits, 8, 12)
    expected = enlarged(whole, 160, 240)[:, :80, :120]
    assert_best(best_channels(half, 80, 120), expected)


def test_a_class_that_wins_only_between_grid_points_is_found() -> None:
    logits = np.array([[[10, -10]], [[-10, 10]], [[1, 1]]], dtype=np.float32)
    assert set(best_channels(Prediction(logits, 1, 2), 1, 200)[0]) == {0, 1, 2}


def test_of_equal_classes_the_first_is_taken() -> None:
    drawn_few = np.random.default_rng(0).integers(0, 3, size=(255, 9, 11))
    prediction = Prediction(drawn_few.astype(np.float32), 9, 11)
    expected = drawn_few.argmax(axis=0)
    assert (best_channels(prediction, 9, 11) == expected).all()
    (tile,) = scored_tiles(prediction, 9, 11)
    assert (tile.channels == expected).all()
    last = np.zeros((255, 1, 1), dtype=np.float32)
    last[254] = 1
    assert best_channels(Prediction(last, 1, 1), 1, 1) == 254
