import numpy as np
import pytest
import torch

from sats_core.data.batches import StepBatches, made_ahead

RNG = np.random.default_rng(0)
PICTURES = [
    (RNG.integers(0, 255, (20, 30, 3), np.uint8), RNG.integers(0, 3, (20, 30), np.uint8))
    for _ in range(7)
]


def batches(seed: int = 0) -> StepBatches:
    return StepBatches(PICTURES, 32, 3, (1, 2, 3), seed)


def test_an_epoch_is_the_same_each_time_and_in_any_order() -> None:
    first, again = list(batches().epoch(1)), list(batches().epoch(1))
    assert len(first) == len(batches()) == 2
    for a, b in zip(first, again, strict=True):
        assert a.pictures.shape == (3, 3, 32, 32)
        assert a.labels.shape == (3, 32, 32)
        assert torch.equal(a.pictures, b.pictures)
        assert torch.equal(a.labels, b.labels)
    assert not torch.equal(first[0].pictures, next(batches().epoch(2)).pictures)
    assert not torch.equal(first[0].pictures, next(batches(seed=1).epoch(1)).pictures)


def test_made_ahead_gives_the_same_batches() -> None:
    for a, b in zip(batches().epoch(1), made_ahead(batches().epoch(1)), strict=True):
        assert torch.equal(a.pictures, b.pictures)


def test_made_ahead_hands_on_errors() -> None:
    broken = StepBatches([(np.zeros((4, 4, 3), np.uint8), None)], 32, 1, (0, 0, 0), 0)  # type: ignore[list-item]
    with pytest.raises(AttributeError):
        next(made_ahead(broken.epoch(0)))


def test_fewer_pictures_than_a_batch() -> None:
    few = StepBatches(PICTURES[:2], 32, 16, (0, 0, 0), 0)
    assert len(few) == 1
    assert next(few.epoch(0)).pictures.shape[0] == 2


def test_room_beside_a_picture_is_ignored() -> None:
    batch = next(batches().epoch(3))
    filled = (batch.pictures.permute(0, 2, 3, 1) == torch.tensor([1, 2, 3])).all(-1)
    assert (batch.labels[filled] == 255).float().mean() > 0.99


class TestReplay:
    def made(self, seed: int = 0) -> StepBatches:
        memory = [(np.full((8, 8, 3), 200, np.uint8), np.full((8, 8), 9, np.uint8))] * 4
        return StepBatches(PICTURES, 32, 4, (0, 0, 0), seed, memory)

    def test_half_of_every_batch_is_memory(self) -> None:
        for batch in self.made().epoch(0):
            own, replayed = batch.labels[:2], batch.labels[2:]
            assert set(replayed.unique().tolist()) <= {9, 255}
            assert 9 not in own.unique()

    def test_an_epoch_still_passes_over_the_steps_own_pictures(self) -> None:
        assert len(self.made()) == 3
        assert self.made().batch_size == 4

    def test_the_same_each_time_and_another_one_by_seed(self) -> None:
        first, again = next(self.made().epoch(1)), next(self.made().epoch(1))
        assert torch.equal(first.pictures, again.pictures)
        assert torch.equal(first.labels, again.labels)
        assert not torch.equal(first.labels, next(self.made(1).epoch(1)).labels)
