import numpy as np
import pytest

from benchmarks.intervals import T_975, Interval, paired


def test_an_interval_of_known_values() -> None:
    # Mean 2, standard deviation 1, three seeds: 4.303 / sqrt(3) to either side.
    interval = Interval.of([1.0, 2.0, 3.0])
    assert interval.mean == 2
    assert interval.low == pytest.approx(2 - 2.4843, abs=1e-3)
    assert interval.high == pytest.approx(2 + 2.4843, abs=1e-3)
    assert not interval.above_zero
    assert Interval.of([1.0, 1.1]).above_zero


def test_one_seed_proves_nothing() -> None:
    interval = Interval.of([0.3])
    assert interval.above_zero is interval.below_zero is None
    assert "no interval" in str(interval)


@pytest.mark.parametrize("seeds", range(2, len(T_975) + 2))
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    held = 0
    for values in rng.normal(5, 2, (2000, seeds)):
        interval = Interval.of(values.tolist())
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low < 5 < interval.high
    assert 0.93 < held / 2000 < 0.97


def test_seeds_are_paired() -> None:
    first, second = {0: 0.5, 1: 0.9, 2: 0.1}, {0: 0.4, 1: 0.8, 3: 0.7}
    found = paired(first, second)
    assert found is not None
    assert found.mean == pytest.approx(0.1)
    assert found.seeds == 2, "what differs between seeds alike for both does not widen it"
    assert found.above_zero
    assert paired({0: 1.0}, {1: 1.0}) is None
    assert paired({0: None}, {0: 1.0}) is None
