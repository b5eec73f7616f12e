from pathlib import Path

import numpy as np
import pytest

from benchmarks import learning_report
from benchmarks.intervals import Interval, paired, t_975

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_an_interval_of_known_values() -> None:
    # Mean 2, standard deviation 1, three seeds: 4.303 / sqrt(3) to either side.
    interval = Interval.of([1.0, 2.0, 3.0])
    assert interval.mean == 2
    assert interval.low == pytest.approx(2 - 2.4843, abs=1e-3)
    assert interval.high == pytest.approx(2 + 2.4843, abs=1e-3)
    assert not interval.above_zero
    assert Interval.of([1.0, 1.1]).above_zero


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (9, 2.262), (10, 2.228), (11, 2.201), (20, 2.086), (30, 2.042), (120, 1.980)],
)
def test_quantiles_of_published_tables(freedom: int, quantile: float) -> None:
    assert t_975(freedom) == pytest.approx(quantile, abs=1e-3)


def test_two_seeds_say_little() -> None:
    """The reports tell how wide the interval of two seeds is, in terms of their difference."""
    interval = Interval.of([0.5, 0.6])
    assert interval.low is not None
    assert interval.high is not None
    told = f"{(interval.high - interval.low) / 0.1:.1f} times as wide as"
    assert told in (RESULTS / "README.md").read_text()
    assert told in learning_report.TWO_SEEDS


def test_one_seed_proves_nothing() -> None:
    interval = Interval.of([0.3])
    assert interval.above_zero is interval.below_zero is None
    assert "no interval" in str(interval)


@pytest.mark.parametrize("seeds", [*range(2, 13), 30])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    within = 0
    for values in rng.normal(5, 2, (2000, seeds)):
        interval = Interval.of(values.tolist())
        assert interval.low is not None
        assert interval.high is not None
        within += interval.low < 5 < interval.high
    assert 0.93 < within / 2000 < 0.97


def test_seeds_are_paired() -> None:
    first, second = {0: 0.5, 1: 0.9, 2: 0.1}, {0: 0.4, 1: 0.8, 3: 0.7}
    found = paired(first, second)
    assert found is not None
    assert found.mean == pytest.approx(0.1)
    assert found.seeds == 2, "what differs between seeds alike for both does not widen it"
    assert found.above_zero
    assert paired({0: 1.0}, {1: 1.0}) is None
    assert paired({0: None}, {0: 1.0}) is None
