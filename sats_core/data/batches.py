"""Training batches: order and augmentation depend on seed, epoch and position alone."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sats_core.data.transforms import Pixels, augment

AHEAD = 10
"""Most batches that are made before they are asked for, by all threads together."""
WHOLE = slice(None)
"""All pictures of a batch."""
_REPLAY = 1
"""Sets the chance of replayed pictures apart from that of the step's own."""


class Batch(NamedTuple):
    """Training input: pictures (B, 3, S, S) and labels (B, S, S), both uint8."""

    pictures: Tensor
    labels: Tensor


MakeBatch = Callable[[], Batch]


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
        seed: int,
        memory: LabelledPictures = (),
    ) -> None:
        """Stand on pictures (H, W, 3) with labels (H, W).

        Args:
            pictures: decoded pictures with the step's labels.
            size: side of a crop, pixels.
            batch_size: pictures a batch, replayed ones included; fewer where the step has not as
                many of its own.
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
        self._seed = seed

    def __len__(self) -> int:
        """Return the batches of an epoch; what does not fill one waits for another shuffle."""
        return len(self._pictures) // self._own

    def epoch(self, number: int, share: slice = WHOLE) -> Iterator[MakeBatch]:
        """Yield what makes each batch of epoch `number`, in any order and by any thread.

        A batch's own pictures come before its replayed ones.

        Args:
            number: of the epoch.
            share: which of each batch's pictures are made, where others make the rest.
        """
        rng = np.random.default_rng((self._seed, number))
        order = rng.permutation(len(self._pictures)).tolist()
        for batch in range(len(self)):
            own = order[batch * self._own : (batch + 1) * self._own]
            replayed: list[int] = []
            if self._replayed:
                replayed = rng.integers(len(self._memory), size=self._replayed).tolist()
            yield partial(self._make, number, batch, own, replayed, share)

    def _make(
        self,
        number: int,
        batch: int,
        own: Sequence[int],
        replayed: Sequence[int],
        share: slice,
    ) -> Batch:
        asked: list[tuple[LabelledPictures, int, tuple[int, ...]]]
        asked = [(self._pictures, index, (number, index)) for index in own]
        asked += [
            (self._memory, index, (number, batch, place, _REPLAY))
            for place, index in enumerate(replayed)
        ]
        views = [self._view(*one) for one in asked[share]]
        # numpy's stack: one of torch's would wake a second team of threads beside the trainer's.
        pictures = np.stack([picture for picture, _ in views])
        labels = np.stack([label for _, label in views])
        return Batch(torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.from_numpy(labels))

    def _view(
        self, pictures: LabelledPictures, index: int, chance: tuple[int, ...]
    ) -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng((self._seed, *chance))
        picture, label = pictures[index]
        return augment(picture, label, self._size, rng)


def made_at_once(makers: Iterator[MakeBatch]) -> Iterator[Batch]:
    """Yield each batch as it is asked for.

    Beside a CPU that computes there is nothing to gain from threads: they take a core from it.
    """
    return (make() for make in makers)


def made_ahead(makers: Iterator[MakeBatch], threads: int | None = None) -> Iterator[Batch]:
    """Yield the same batches, made by threads beside an accelerator that computes.

    At most `AHEAD` of them wait, however many threads there are.

    Args:
        makers: of `StepBatches.epoch`.
        threads: by default one less than there are cores, eight at most.
    """
    threads = threads or max(1, min(8, (os.cpu_count() or 2) - 1))
    loaders = ThreadPoolExecutor(threads)
    try:
        waiting = deque(loaders.submit(_pinned, make) for make in islice(makers, AHEAD))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(loaders.submit(_pinned, make) for make in islice(makers, 1))
            yield batch
    finally:
        # Who stops in the middle waits for what is being made, not for what is queued.
        loaders.shutdown(cancel_futures=True)


def _pinned(make: MakeBatch) -> Batch:
    """Return a batch that an accelerator copies while it computes; without one, as it is."""
    batch = make()
    if not torch.cuda.is_available():
        return batch
    return Batch(batch.pictures.pin_memory(), batch.labels.pin_memory())
