from pathlib import Path

import pytest
import torch

from sats_core.errors import ModelError
from sats_core.methods.expected import among, rarer
from sats_core.methods.features import FeatureMemory
from sats_core.methods.sampling import PixelSample

WIDTH = 4


def memory(labels: list[int], weights: list[float] | None = None) -> FeatureMemory:
    """Features that say which pixel they are."""
    count = len(labels)
    features = torch.arange(count, dtype=torch.float32)[:, None].expand(-1, WIDTH)
    shares = torch.tensor(weights) if weights else torch.full((count,), 1 / count)
    return FeatureMemory(features, torch.tensor(labels), shares)


def share_of(found: FeatureMemory, label: int) -> float:
    return float(found.weights[found.labels == label].sum())


class TestThinned:
    def test_every_label_keeps_as_many_and_stands_for_what_it_stood_for(self) -> None:
        whole = memory([0] * 50 + [1] * 30 + [2] * 20)
        kept = whole.thinned(30, seed=0)
        assert torch.bincount(kept.labels).tolist() == [10, 10, 10]
        assert [share_of(kept, label) for label in range(3)] == pytest.approx([0.5, 0.3, 0.2])
        drawn = kept.features[:, 0].long()
        assert torch.equal(whole.labels[drawn], kept.labels)
        assert len(drawn.unique()) == 30

    def test_a_rare_label_keeps_all_it_has(self) -> None:
        kept = memory([0] * 50 + [1] * 3).thinned(20, seed=0)
        assert torch.bincount(kept.labels).tolist() == [10, 3]

    def test_the_seed_draws(self) -> None:
        whole = memory([0] * 100)
        first, again, other = (whole.thinned(10, seed).features for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_nothing_stays_nothing(self) -> None:
        empty = FeatureMemory(torch.zeros(0, WIDTH), torch.zeros(0).long(), torch.zeros(0))
        assert len(empty.thinned(10, seed=0).labels) == 0


def test_each_class_has_its_share_of_a_joined_memory() -> None:
    before, step = memory([0, 0, 1, 2, 3]), memory([0, 4, 4, 4])
    joined = before.joined(step, most=100, seed=0)
    # Three classes were known and one came: a quarter is the step's.
    assert share_of(joined, 4) == pytest.approx(0.25 * 0.75)
    assert share_of(joined, 1) == pytest.approx(0.75 * 0.2)
    assert joined.weights.sum().item() == pytest.approx(1)


def test_a_memory_of_a_sample_weighs_pixels_by_what_they_stand_for() -> None:
    kinds, weights = torch.tensor([0, 3, 3]), torch.tensor([6.0, 1.0, 1.0])
    found = FeatureMemory.of(PixelSample(torch.rand(3, WIDTH), kinds, weights, torch.ones(4)), 9, 0)
    assert share_of(found, 0) == pytest.approx(0.75)
    assert found.labels.tolist() == [0, 3, 3]


class TestFile:
    def test_it_comes_back(self, tmp_path: Path) -> None:
        before = memory([0, 1, 5], [0.5, 0.25, 0.25])
        before.save(tmp_path / "features.safetensors")
        after = FeatureMemory.load(tmp_path / "features.safetensors", WIDTH, classes=6)
        for one, other in zip(before, after, strict=True):
            assert torch.equal(one, other)
            assert one.dtype == other.dtype

    @pytest.mark.parametrize(("width", "classes"), [(WIDTH + 1, 6), (WIDTH, 5)])
    def test_one_of_another_model_is_refused(
        self, tmp_path: Path, width: int, classes: int
    ) -> None:
        memory([0, 1, 5]).save(tmp_path / "features.safetensors")
        with pytest.raises(ModelError, match="not of a model"):
            FeatureMemory.load(tmp_path / "features.safetensors", width, classes)


class TestExpected:
    """Background (0), a class known before (1) and a new one (2)."""

    @staticmethod
    def sample(weights: list[float], shown: list[float]) -> PixelSample:
        features = torch.ones(3, WIDTH)
        return PixelSample(features, torch.arange(3), torch.tensor(weights), torch.tensor(shown))

    def test_alone_a_new_class_counts_as_if_fewer_pictures_showed_it(self) -> None:
        found = rarer(self.sample([50.0, 0.0, 50.0], [1.0, 0.0, 1.0]), 2, 0.1)
        assert found.weights.tolist() == [50, 0, 5]

    def test_a_class_that_is_rarer_than_that_counts_as_it_is(self) -> None:
        found = rarer(self.sample([50.0, 0.0, 50.0], [1.0, 0.0, 0.05]), 2, 0.1)
        assert found.weights.tolist() == [50, 0, 50]

    def test_a_memory_stands_for_the_other_pictures(self) -> None:
        before = memory([0, 1], [0.4, 0.6])
        found = among(self.sample([60.0, 0.0, 40.0], [1.0, 0.0, 1.0]), before, 0.1)
        shares = torch.bincount(found.kinds, found.weights, 3)
        assert shares.tolist() == pytest.approx([0.06 + 0.36, 0.54, 0.04])
        assert len(found.features) == 5
