"""Training batches: order and augmentation depend on seed, epoch and position alone."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sats_core.data.transforms import Pixels, augment

AHEAD = 3
"""Batches made before they are asked for, where they are made ahead."""
_REPLAY = 1
"""Sets the chance of replayed pictures apart from that of the step's own."""


class Batch(NamedTuple):
    """Training input: pictures (B, 3, S, S) uint8 and labels (B, S, S) int64."""

    pictures: Tensor
    labels: Tensor


class LabelledPictures(Protocol):
    """Decoded pictures (H, W, 3) with the step's labels (H, W), by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Pixels, Pixels]: ...


class StepBatches:
    """Batches of a step, epoch by epoch; any epoch can be asked for, in any order."""

    def __init__(
        self,
        pictures: LabelledPictures,
        size: int,
        batch_size: int,
        fill: tuple[int, int, int],
        seed: int,
        memory: LabelledPictures = (),
    ) -> None:
        """Stand on pictures (H, W, 3) with labels (H, W).

        Args:
            pictures: decoded pictures with the step's labels.
            size: side of a crop, pixels.
            batch_size: pictures a batch, replayed ones included; fewer where the step has not as
                many of its own.
            fill: colour of what a crop shows beyond its picture.
            seed: of order and augmentation.
            memory: pictures of earlier steps, replayed as half of every batch (SATS-M); an epoch
                is a pass over `pictures` all the same.
        """
        self._pictures = pictures
        self._memory = memory
        self._size = size
        own = batch_size // 2 if len(memory) else batch_size
        self._own = min(own, len(pictures))
        self._replayed = self._own if len(memory) else 0
        self.batch_size = self._own + self._replayed
        self._fill = fill
        self._seed = seed

    def __len__(self) -> int:
        """Return the batches of an epoch; what does not fill one waits for another shuffle."""
        return len(self._pictures) // self._own

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, a batch's own pictures before its replayed ones."""
        rng = np.random.default_rng((self._seed, number))
        order = rng.permutation(len(self._pictures)).tolist()
        for batch in range(len(self)):
            views = [
                self._view(self._pictures, index, (number, index))
                for index in order[batch * self._own : (batch + 1) * self._own]
            ]
            replayed = (
                rng.integers(len(self._memory), size=self._replayed) if self._replayed else ()
            )
            views += [
                self._view(self._memory, int(index), (number, batch, place, _REPLAY))
                for place, index in enumerate(replayed)
            ]
            yield _stacked(views)

    def _view(
        self, pictures: LabelledPictures, index: int, chance: tuple[int, ...]
    ) -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng((self._seed, *chance))
        picture, label = pictures[index]
        return augment(picture, label, self._size, self._fill, rng)


def _stacked(views: Sequence[tuple[Pixels, Pixels]]) -> Batch:
    # numpy's casts: one of torch's would wake a second team of threads beside the trainer's.
    pictures = np.stack([picture for picture, _ in views])
    labels = np.stack([label for _, label in views], dtype=np.int64)
    return Batch(torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.from_numpy(labels))


def made_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same batches, made by a thread beside an accelerator that computes.

    Beside a CPU that computes there is nothing to gain: the thread takes a core from it.
    """
    with ThreadPoolExecutor(1) as loader:
        waiting = deque(loader.submit(next, batches, None) for _ in range(AHEAD))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(loader.submit(next, batches, None))
            yield _pinned(batch)


def _pinned(batch: Batch) -> Batch:
    """Return a batch that an accelerator copies while it computes; without one, as it is."""
    if not torch.cuda.is_available():
        return batch
    return Batch(batch.pictures.pin_memory(), batch.labels.pin_memory())
