import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sats_core.errors import ModelError
from sats_core.methods.features import FeatureMemory
from sats_core.methods.frozen import rarer
from sats_core.methods.sampling import PixelSample

WIDTH = 4
STAGES = 3


def memory(labels: list[int], weights: list[float] | None = None) -> FeatureMemory:
    """Features that say which pixel they are."""
    count = len(labels)
    features = torch.arange(count, dtype=torch.float32)[:, None].expand(-1, WIDTH)
    shares = torch.tensor(weights) if weights else torch.full((count,), 1 / count)
    return FeatureMemory(features, torch.tensor(labels), torch.ones(count).long(), shares)


def share_of(found: FeatureMemory, label: int) -> float:
    return float(found.weights[found.labels == label].sum())


class TestThinned:
    def test_background_takes_half_and_classes_the_same(self) -> None:
        whole = memory([0] * 50 + [1] * 30 + [2] * 20)
        kept = whole.thinned(40, seed=0)
        assert torch.bincount(kept.labels).tolist() == [20, 10, 10]
        assert [share_of(kept, label) for label in range(3)] == pytest.approx([0.5, 0.3, 0.2])
        drawn = kept.features[:, 0].long()
        assert torch.equal(whole.labels[drawn], kept.labels)
        assert len(drawn.unique()) == 40

    def test_a_rare_label_keeps_all_it_has(self) -> None:
        kept = memory([0] * 50 + [1] * 3).thinned(20, seed=0)
        assert torch.bincount(kept.labels).tolist() == [10, 3]

    def test_the_seed_draws(self) -> None:
        whole = memory([0] * 100)
        first, again, other = (whole.thinned(10, seed).features for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_nothing_stays_nothing(self) -> None:
        none = torch.zeros(0)
        empty = FeatureMemory(torch.zeros(0, WIDTH), none.long(), none.long(), none)
        assert len(empty.thinned(10, seed=0).labels) == 0


def test_each_class_has_its_share_of_a_joined_memory() -> None:
    before, step = memory([0, 0, 1, 2, 3]), memory([0, 4, 4, 4])
    joined = before.joined(step)
    # Three classes were known and one came: a quarter is the step's.
    assert share_of(joined, 4) == pytest.approx(0.25 * 0.75)
    assert share_of(joined, 1) == pytest.approx(0.75 * 0.2)
    assert joined.weights.sum().item() == pytest.approx(1)


def test_classes_that_were_replayed_from_pictures_bring_no_share() -> None:
    before = memory([0, 1, 2, 3])
    joined = before.joined(memory([0, 1, 2, 4]))
    assert share_of(joined, 4) == pytest.approx(0.25 * 0.25)
    nothing_new = before.joined(memory([0, 1])).thinned(100, seed=0)
    assert nothing_new.weights.isfinite().all()
    assert share_of(nothing_new, 3) == pytest.approx(0.25)


def test_a_memory_among_others() -> None:
    found = memory([0, 1], [0.4, 0.6]).among(memory([0, 2], [0.5, 0.5]), 0.1)
    assert [share_of(found, label) for label in range(3)] == pytest.approx([0.41, 0.54, 0.05])


def test_a_memory_of_a_sample_weighs_pixels_by_what_they_stand_for() -> None:
    kinds, weights = torch.tensor([0, 3, 3]), torch.tensor([6.0, 1.0, 1.0])
    sample = PixelSample(torch.rand(3, WIDTH), kinds, weights, torch.ones(4))
    found = FeatureMemory.of(sample, hides=3)
    assert share_of(found, 0) == pytest.approx(0.75)
    assert found.labels.tolist() == [0, 3, 3]
    assert found.hides.tolist() == [3, 3, 3]


def test_what_is_kept_moves_as_the_pixels_moved_that_can_be_seen_again() -> None:
    make = torch.Generator().manual_seed(0)
    before, kept = torch.randn(500, WIDTH, generator=make), torch.randn(7, WIDTH, generator=make)
    turn = torch.randn(WIDTH, WIDTH, generator=make)
    labels = torch.zeros(7).long()
    memory = FeatureMemory(kept, labels, labels + 1, torch.full((7,), 1 / 7), 2 * kept)

    def sample(features: torch.Tensor, stages: torch.Tensor | None) -> PixelSample:
        count = len(features)
        return PixelSample(features, torch.zeros(count).long(), *torch.ones(2, count), stages)

    moved = memory.followed(sample(before, before), sample(before @ turn + 3, before - 1))
    torch.testing.assert_close(moved.features, kept @ turn + 3, atol=0.02, rtol=0.02)
    assert moved.stages is not None
    torch.testing.assert_close(moved.stages, 2 * kept - 1, atol=0.02, rtol=0.02)
    assert torch.equal(moved.labels, labels)
    assert memory.followed(sample(before, None), sample(before, None)).stages is None


class TestFile:
    def test_it_comes_back(self, tmp_path: Path) -> None:
        before = memory([0, 1, 5], [0.5, 0.25, 0.25])._replace(stages=torch.ones(3, STAGES) / 4)
        before.save(tmp_path / "features.safetensors")
        after = FeatureMemory.load(tmp_path / "features.safetensors", WIDTH, STAGES, classes=6)
        for one, other in zip(before, after, strict=True):
            assert one is not None
            assert other is not None
            assert torch.equal(one, other)
            assert one.dtype == other.dtype

    def test_one_without_stages_comes_back_without(self, tmp_path: Path) -> None:
        memory([0, 1]).save(tmp_path / "features.safetensors")
        after = FeatureMemory.load(tmp_path / "features.safetensors", WIDTH, STAGES, classes=2)
        assert after.stages is None

    def test_what_half_precision_cannot_hold_stays_finite(self, tmp_path: Path) -> None:
        large = torch.full((2, WIDTH), 1e6)
        memory([0, 1])._replace(features=large, stages=-large).save(
            tmp_path / "features.safetensors"
        )
        after = FeatureMemory.load(tmp_path / "features.safetensors", WIDTH, WIDTH, classes=2)
        assert after.stages is not None
        assert after.features.isfinite().all()
        assert after.stages.isfinite().all()

    @pytest.mark.parametrize(
        ("width", "stages", "classes"),
        [(WIDTH + 1, STAGES, 6), (WIDTH, STAGES + 1, 6), (WIDTH, STAGES, 5)],
    )
    def test_one_of_another_model_is_refused(
        self, tmp_path: Path, width: int, stages: int, classes: int
    ) -> None:
        kept = memory([0, 1, 5])._replace(stages=torch.ones(3, STAGES))
        kept.save(tmp_path / "features.safetensors")
        with pytest.raises(ModelError, match="not of a model"):
            FeatureMemory.load(tmp_path / "features.safetensors", width, stages, classes)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("features", torch.nan),
            ("stages", torch.inf),
            ("weights", torch.nan),
            ("weights", -1.0),
            ("hides", 7),
            ("hides", -1),
        ],
    )
    def test_values_that_no_version_has_are_named(
        self, tmp_path: Path, name: str, value: float
    ) -> None:
        path = tmp_path / "features.safetensors"
        memory([0, 1, 5])._replace(stages=torch.ones(3, STAGES)).save(path)
        tensors = load_file(path)
        tensors[name][1] = value
        save_file(tensors, path)
        with pytest.raises(ModelError, match=f"features.safetensors is damaged: its {name} "):
            FeatureMemory.load(path, WIDTH, STAGES, 6)

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "features.safetensors"
        memory([0, 1]).save(path)
        tensors = load_file(path)
        save_file({name: tensors[name] for name in ("features", "labels")}, path)
        with pytest.raises(ModelError, match=r"features.safetensors lacks hides, weights"):
            FeatureMemory.load(path, WIDTH, STAGES, 2)

    @pytest.mark.parametrize("name", ["labels", "hides"])
    def test_labels_that_are_no_numbers_are_refused(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "features.safetensors"
        memory([0, 1]).save(path)
        save_file(load_file(path) | {name: torch.full((2,), torch.nan)}, path)
        with pytest.raises(ModelError, match=r"features.safetensors is not of a model"):
            FeatureMemory.load(path, WIDTH, STAGES, 2)

    @pytest.mark.parametrize("rows", [2, 10**9])
    def test_less_than_its_header_claims_is_told_with_its_name(
        self, tmp_path: Path, rows: int
    ) -> None:
        path = tmp_path / "features.safetensors"
        claim = {"dtype": "F16", "shape": [rows, WIDTH], "data_offsets": [0, 2 * WIDTH * rows]}
        header = json.dumps({"features": claim}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
        with pytest.raises(ModelError, match=r"features.safetensors cannot be read"):
            FeatureMemory.load(path, WIDTH, STAGES, 2)


def test_stages_stay_where_both_memories_have_them() -> None:
    with_them = memory([0, 1])._replace(stages=torch.arange(6.0).view(2, STAGES))
    assert memory([0, 2]).joined(with_them).stages is None
    assert with_them.joined(memory([0, 2])).stages is None
    both = with_them.joined(with_them)
    assert both.stages is not None
    assert both.stages.tolist() == [[0, 1, 2], [3, 4, 5]] * 2
    left = both.without([1], torch.zeros(4, dtype=torch.bool)).stages
    assert left is not None
    assert left.tolist() == [[0, 1, 2]] * 2
    thinned = both.thinned(2, seed=0).stages
    assert thinned is not None
    assert thinned.tolist() == [[0, 1, 2], [3, 4, 5]]


class TestRarer:
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


class TestWithout:
    def test_what_is_labelled_goes_and_others_move_up(self) -> None:
        whole = memory([0, 1, 2, 3, 2, 4])
        left = whole.without([2], torch.zeros(6, dtype=torch.bool))
        assert left.labels.tolist() == [0, 1, 2, 3]
        assert left.features[:, 0].tolist() == [0, 1, 3, 5]
        assert left.weights.sum().item() == pytest.approx(1)

    def test_background_goes_where_it_may_hide_the_class_and_looks_so(self) -> None:
        whole = memory([0, 0, 0, 1])._replace(hides=torch.tensor([1, 3, 3, 3]))
        shows = torch.tensor([True, True, False, True])
        left = whole.without([2], shows)
        # The first says that it is background; the last that it is another class.
        assert left.features[:, 0].tolist() == [0, 2, 3]
        assert left.hides.tolist() == [1, 2, 2]

    def test_several_classes(self) -> None:
        whole = memory([0, 1, 2, 3, 4, 5])._replace(hides=torch.full((6,), 6))
        left = whole.without([4, 1], torch.zeros(6, dtype=torch.bool))
        assert left.labels.tolist() == [0, 1, 2, 3]
        assert left.hides.tolist() == [4] * 4

    def test_everything_may_go(self) -> None:
        left = memory([1, 1]).without([1], torch.zeros(2, dtype=torch.bool))
        assert len(left.labels) == 0
        assert not left.weights.isnan().any()
