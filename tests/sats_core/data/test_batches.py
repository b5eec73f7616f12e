import time
from collections.abc import Generator, Iterator
from functools import partial

import numpy as np
import pytest
import torch

from sats_core.data.batches import AHEAD, Batch, MakeBatch, StepBatches, made_ahead, made_at_once
from sats_core.data.transforms import Pixels

RNG = np.random.default_rng(0)
PICTURES = [
    (RNG.integers(0, 255, (20, 30, 3), np.uint8), RNG.integers(0, 3, (20, 30), np.uint8))
    for _ in range(7)
]


def batches(seed: int = 0) -> StepBatches:
    return StepBatches(PICTURES, 32, 3, seed)


def made(batches: StepBatches, epoch: int) -> list[Batch]:
    return list(made_at_once(batches.epoch(epoch)))


def test_an_epoch_is_the_same_each_time_and_in_any_order() -> None:
    first, again = list(made_at_once(batches().epoch(1))), made(batches(), 1)
    assert len(first) == len(batches()) == 2
    for a, b in zip(first, again, strict=True):
        assert a.pictures.shape == (3, 3, 32, 32)
        assert a.labels.shape == (3, 32, 32)
        assert torch.equal(a.pictures, b.pictures)
        assert torch.equal(a.labels, b.labels)
    assert not torch.equal(first[0].pictures, made(batches(), 2)[0].pictures)
    assert not torch.equal(first[0].pictures, made(batches(seed=1), 1)[0].pictures)


@pytest.mark.parametrize("memory", [[], PICTURES[:3]])
def test_shares_of_a_batch_are_together_the_batch(memory: list[tuple[Pixels, Pixels]]) -> None:
    several = StepBatches(PICTURES, 32, 6, 0, memory)
    whole = made(several, 1)
    first, second = (
        list(made_at_once(several.epoch(1, share))) for share in (slice(0, 2), slice(2, 6))
    )
    for batch, one, other in zip(whole, first, second, strict=True):
        assert len(one.pictures) == 2
        for together, parts in zip(batch, zip(one, other, strict=True), strict=True):
            assert torch.equal(torch.cat(parts), together)


@pytest.mark.parametrize("threads", [1, 3])
def test_made_ahead_gives_the_same_batches_in_order(threads: int) -> None:
    many = StepBatches(PICTURES * 4, 32, 2, 0)
    ahead = list(made_ahead(many.epoch(1), threads))
    assert len(ahead) == 14
    for a, b in zip(made(many, 1), ahead, strict=True):
        assert torch.equal(a.pictures, b.pictures)
        assert torch.equal(a.labels, b.labels)


def counted(made: list[int]) -> Iterator[MakeBatch]:
    """Makers that take a moment and add their number to `made` as they begin."""

    def make(number: int) -> Batch:
        made.append(number)
        time.sleep(0.01)
        return Batch(torch.zeros(1), torch.zeros(1))

    return (partial(make, number) for number in range(100))


def test_stopping_does_not_wait_for_what_is_queued() -> None:
    made: list[int] = []
    ahead = made_ahead(counted(made), 1)
    next(ahead)
    assert isinstance(ahead, Generator)
    begun = len(made)
    ahead.close()
    assert len(made) <= begun + 2


@pytest.mark.parametrize("threads", [1, 8])
def test_how_many_are_ahead_does_not_depend_on_the_threads(threads: int) -> None:
    taken: list[int] = []

    def noted() -> Iterator[MakeBatch]:
        for number, make in enumerate(counted([])):
            taken.append(number)  # whoever takes it makes it, sooner or later
            yield make

    ahead = made_ahead(noted(), threads)
    for asked in (1, 2):
        next(ahead)
        assert len(taken) == AHEAD + asked
    assert isinstance(ahead, Generator)
    ahead.close()


def test_made_ahead_hands_on_errors() -> None:
    broken = StepBatches([(np.zeros((4, 4, 3), np.uint8), None)], 32, 1, 0)  # type: ignore[list-item]
    with pytest.raises(AttributeError):
        next(made_ahead(broken.epoch(0)))


def test_fewer_pictures_than_a_batch() -> None:
    few = StepBatches(PICTURES[:2], 32, 16, 0)
    assert len(few) == 1
    assert made(few, 0)[0].pictures.shape[0] == 2


class TestReplay:
    def batches(self, seed: int = 0) -> StepBatches:
        memory = [(np.full((8, 8, 3), 200, np.uint8), np.full((8, 8), 9, np.uint8))] * 4
        return StepBatches(PICTURES, 32, 4, seed, memory)

    def test_half_of_every_batch_is_memory(self) -> None:
        for batch in made(self.batches(), 0):
            own, replayed = batch.labels[:2], batch.labels[2:]
            assert set(replayed.unique().tolist()) <= {9, 255}
            assert 9 not in own.unique()

    def test_an_epoch_still_passes_over_the_steps_own_pictures(self) -> None:
        assert len(self.batches()) == 3
        assert self.batches().batch_size == 4

    def test_the_same_each_time_and_another_one_by_seed(self) -> None:
        first, again = made(self.batches(), 1)[0], made(self.batches(), 1)[0]
        assert torch.equal(first.pictures, again.pictures)
        assert torch.equal(first.labels, again.labels)
        assert not torch.equal(first.labels, made(self.batches(1), 1)[0].labels)

    def test_a_picture_that_comes_again_is_stretched_anew(self) -> None:
        replaying = StepBatches(PICTURES, 32, 4, 0, PICTURES[:1])
        views = [
            view
            for epoch in (0, 1)
            for batch in made(replaying, epoch)
            for view in batch.pictures[2:]
        ]
        assert len(views) == 12
        assert len({view.numpy().tobytes() for view in views}) == 12
