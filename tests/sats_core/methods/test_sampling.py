import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.methods.sampling import PER_PICTURE, SLACK, PixelSample, PixelSampler

SIDE = 64


def picture(number: int, shown: int) -> tuple[Tensor, Tensor]:
    """A picture with `shown` pixels of kind 1 and the rest ignored; its feature is its number."""
    kinds = torch.full((SIDE * SIDE,), 255)
    kinds[:shown] = 1
    features = torch.full((1, SIDE // 4, SIDE // 4), float(number))
    return features, kinds.view(SIDE, SIDE)


def drawn(sampler: PixelSampler) -> PixelSample:
    sample = sampler.sample()
    assert sample is not None
    return sample


def test_pictures_give_alike_or_all_that_they_have() -> None:
    sampler = PixelSampler(2, pixels=250, seed=0)
    for number, shown in enumerate([1000, 50, 300]):
        sampler.add(*picture(number, shown))
    sample = drawn(sampler)
    counts = torch.bincount(sample.features[:, 0].long()).tolist()
    assert sample.shown.tolist() == [0, 1]
    assert counts[1] == 50
    assert counts[0] == pytest.approx(100, abs=1)
    assert sum(counts) == 250


def test_weights_say_how_many_pixels_each_one_stands_for() -> None:
    sampler = PixelSampler(2, pixels=250, seed=0)
    shown = [1000, 50, 300]
    for number, pixels in enumerate(shown):
        sampler.add(*picture(number, pixels))
    sample = drawn(sampler)
    for number, pixels in enumerate(shown):
        of_it = sample.features[:, 0].round() == number
        assert sample.weights[of_it].sum().item() == pytest.approx(pixels, rel=1e-5)


def test_every_kind_has_room_of_its_own_and_ignored_pixels_have_none() -> None:
    make = torch.Generator().manual_seed(0)
    kinds = torch.randint(0, 3, (SIDE, SIDE), generator=make)
    kinds[:, 32:] = 255
    sampler = PixelSampler(3, pixels=300, seed=0)
    for _ in range(5):
        sampler.add(torch.randn(4, 16, 16, generator=make), kinds)
    sample = drawn(sampler)
    assert torch.bincount(sample.kinds).tolist() == [100, 100, 100]
    assert sample.weights.sum().item() == pytest.approx(5 * SIDE * 32, rel=1e-5)


def test_a_kind_that_comes_late_takes_its_room_from_the_others() -> None:
    sampler = PixelSampler(4, pixels=300, seed=0)
    features, kinds = picture(0, 2000)
    sampler.add(features, kinds)
    assert len(drawn(sampler).kinds) == 300
    both = torch.where(kinds == 255, 2, kinds)
    for _ in range(3):
        sampler.add(features, both)
    sample = drawn(sampler)
    assert torch.bincount(sample.kinds, minlength=4).tolist() == [0, 150, 150, 0]
    stand_for = torch.bincount(sample.kinds, sample.weights, minlength=4)
    rest = SIDE * SIDE - 2000
    assert stand_for.tolist() == pytest.approx([0, 4 * 2000, 3 * rest, 0], rel=1e-5)


def test_memory_does_not_grow_with_the_pictures() -> None:
    sampler = PixelSampler(2, pixels=500, seed=0)
    stratum = sampler._strata[1]
    for number in range(40):
        sampler.add(*picture(number, SIDE * SIDE))
        rows = sum(len(features) for features in stratum._features)
        assert rows <= SLACK * 500
    assert stratum.wanted < 2 * 500 / 40 < PER_PICTURE


def test_features_are_those_that_bring_logits_to_the_full_grid() -> None:
    make = torch.Generator().manual_seed(0)
    features = torch.randn(3, 8, 12, generator=make)
    kinds = torch.full((32, 48), 255)
    for row, column in [(0, 0), (31, 47), (13, 22), (2, 45)]:
        kinds[:] = 255
        kinds[row, column] = 0
        sampler = PixelSampler(1, pixels=10, seed=0)
        sampler.add(features, kinds)
        full = F.interpolate(features[None], size=(32, 48), mode="bilinear")[0]
        torch.testing.assert_close(drawn(sampler).features[0], full[:, row, column])


def test_the_seed_decides() -> None:
    def draw(seed: int) -> Tensor:
        make = torch.Generator().manual_seed(7)
        sampler = PixelSampler(1, pixels=50, seed=seed)
        for _ in range(3):
            sampler.add(torch.randn(2, 16, 16, generator=make), torch.zeros(64, 64).long())
        return drawn(sampler).features

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_nothing_labelled_is_no_sample() -> None:
    sampler = PixelSampler(2, pixels=10, seed=0)
    sampler.add(torch.zeros(2, 8, 8), torch.full((32, 32), 255))
    assert sampler.sample() is None


def test_stages_are_read_at_the_drawn_pixels() -> None:
    column = torch.linspace(0, 1, SIDE)
    features = column[None, None].expand(1, SIDE, SIDE)
    coarse = features[:, ::4, ::4] + torch.tensor([1.0, 2.0])[:, None, None]
    sampler = PixelSampler(2, pixels=50, seed=0)
    kinds = torch.zeros(SIDE, SIDE).long()
    sampler.add(features, kinds, [features, coarse])
    sample = drawn(sampler)
    assert sample.features.shape == (50, 1)
    assert sample.stages is not None
    assert torch.equal(sample.stages[:, :1], sample.features)
    assert sample.stages[:, 2] - sample.stages[:, 1] == pytest.approx(torch.ones(50))
    # A coarse cell of four pixels is read within a cell's width of where it lies.
    assert (sample.stages[:, 1] - 1 - sample.features[:, 0]).abs().max() < 4 / SIDE


def test_without_stages_there_are_none() -> None:
    sampler = PixelSampler(2, pixels=50, seed=0)
    sampler.add(*picture(0, 100))
    assert drawn(sampler).stages is None
