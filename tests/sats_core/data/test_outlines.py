import numpy as np
import pytest

from sats_core.data.outlines import edge_ranks, outline_fit, region
from tests.fixtures.drawings import draw

Drawn = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def pictures() -> Drawn:
    rng = np.random.default_rng(0)
    return [draw(rng, ["disc", "bar"], 64, objects=1) for _ in range(12)]


def fit(pictures: Drawn, labels: list[np.ndarray]) -> float | None:
    ranks = [edge_ranks(picture) for picture, _ in pictures]
    return outline_fit(ranks, [region(label > 0, 1) for label in map(np.uint8, labels)])


def test_careful_outlines_lie_on_edges(pictures: Drawn):
    found = fit(pictures, [label > 0 for _, label in pictures])
    assert found is not None
    assert found > 0.1


def test_outlines_of_other_pictures_do_not(pictures: Drawn):
    found = fit(pictures, [label > 0 for _, label in pictures[5:] + pictures[:5]])
    assert found is not None
    assert found < 0.05


def test_nor_does_noise(pictures: Drawn):
    rng = np.random.default_rng(1)
    found = fit(pictures, [rng.random((64, 64)) < 0.3 for _ in pictures])
    assert found is not None
    assert abs(found) < 0.05


def test_nor_the_same_mask_everywhere(pictures: Drawn):
    found = fit(pictures, [pictures[0][1] > 0 for _ in pictures])
    assert found is not None
    assert abs(found) < 0.01


def test_few_outlines_tell_nothing(pictures: Drawn):
    everything = [np.ones((64, 64)) for _ in pictures]
    assert fit(pictures, everything) is None
    assert fit(pictures[:3], [label > 0 for _, label in pictures[:3]]) is None


def test_pictures_of_other_sizes_are_looked_at_small():
    rng = np.random.default_rng(2)
    picture, label = draw(rng, ["disc"], 300)
    assert edge_ranks(picture).shape == (128, 128)
    assert region(label, 1).shape == (128, 128)
    assert edge_ranks(picture[:30, :20]).shape == (30, 20)
    flat = edge_ranks(np.zeros((9, 9, 3), np.uint8))
    assert flat == pytest.approx(0.5, abs=0.01)
