import numpy as np

from sats_core.evaluation.opinion import Region, most_called, round_robin, told_apart


def drawn(count: int, mean: float, seed: int) -> list[Region]:
    rng = np.random.default_rng(seed)
    return [Region(rng.normal(mean, 1, 8), np.array([0.1, 0.9])) for _ in range(count)]


def test_regions_of_one_class_are_not_told_apart():
    same = told_apart(drawn(32, 0, 1), drawn(32, 0, 2))
    assert same is not None
    assert same < 0.7


def test_regions_of_two_classes_are():
    other = told_apart(drawn(32, 0, 1), drawn(32, 2, 2))
    assert other is not None
    assert other > 0.9


def test_few_regions_tell_nothing():
    assert told_apart(drawn(7, 0, 1), drawn(32, 2, 2)) is None
    assert told_apart(drawn(32, 0, 1), []) is None


def test_the_background_is_no_class_that_regions_are_called():
    feature = np.zeros(2)
    found = [Region(feature, np.array([0.7, 0.1, 0.2])), Region(feature, np.array([0.5, 0, 0.5]))]
    assert most_called(found) == (2, 0.35)
    assert most_called([Region(feature, np.array([1.0]))]) is None
    assert most_called([Region(feature, np.array([1.0, 0.0]))]) is None
    assert most_called([]) is None


def test_every_class_has_its_share_of_what_is_looked_at():
    shown = [{"a"}] * 10 + [{"b"}] * 2 + [{"a", "b"}]
    assert round_robin(shown, ["a", "b"], 4) == [0, 1, 10, 11]
    assert round_robin(shown, ["a", "b"], 99) == list(range(13))
    assert round_robin(shown, [], 5) == []
