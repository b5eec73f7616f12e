import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.inference.cutting import Cut, LeftError, cut
from sats_core.data.prediction import Prediction
from tests.fixtures.examples import examples

INDICES = np.array([0, 3, 4, 9], dtype=np.uint8)
EVERY_SCORE = Cut(keep_scores=True)


def drawn(seed: int, classes: int = len(INDICES), side: int = 6) -> Prediction:
    logits = np.random.default_rng(seed).normal(scale=3, size=(classes, side, side))
    return Prediction(logits.astype(np.float32), side, side)


@settings(deadline=None, max_examples=examples(40))
@given(
    st.integers(0, 1000),
    st.none() | st.frozensets(st.sampled_from(INDICES.tolist())),
    st.sampled_from([0.0, 0.5, 0.7, 1.0]),
)
def test_what_is_not_shown_is_background(
    seed: int, shown: frozenset[int] | None, min_score: float
) -> None:
    prediction = drawn(seed)
    whole = cut(prediction, INDICES, 40, 50, EVERY_SCORE)
    found = cut(prediction, INDICES, 40, 50, Cut(shown, min_score))
    assert found.every_score.size == 0
    # A half keeps three digits: those on the edge may fall to either side.
    sure = np.abs(whole.every_score.astype(float) - min_score) > 1e-3
    kept = whole.every_score >= min_score
    if shown is not None:
        kept &= np.isin(whole.mask, list(shown))
    expected = np.where(kept, whole.mask, 0)
    np.testing.assert_array_equal(found.mask[sure], expected[sure])
    assert set(np.unique(found.mask)) <= {*found.scores, 0}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_scores_are_means_over_the_pixels_of_the_class(seed: int) -> None:
    found = cut(drawn(seed), INDICES, 150, 140, EVERY_SCORE)
    assert set(found.scores) == set(np.unique(found.mask))
    for index, score in found.scores.items():
        plain = found.every_score[found.mask == index].mean(dtype=float)
        assert score == pytest.approx(plain, abs=1e-3)


def test_classes_are_never_all_in_memory_at_the_pictures_size() -> None:
    prediction = drawn(0, classes=20, side=32)
    height, width = 900, 1200
    tracemalloc.start()
    found = cut(prediction, np.arange(20, dtype=np.uint8), height, width, Cut())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.scores) == 20
    assert peak < 0.15 * 20 * height * width * 4


def test_nothing_is_cut_for_who_has_left() -> None:
    asked = []

    def has_left() -> bool:
        asked.append(len(asked))
        return len(asked) == 3

    with pytest.raises(LeftError):
        cut(drawn(0), INDICES, 1000, 1000, Cut(), has_left)
    assert len(asked) == 3
