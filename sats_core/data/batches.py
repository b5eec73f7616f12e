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
    ) -> None:
        """Stand on pictures (H, W, 3) with labels (H, W).

        Args:
            pictures: decoded pictures with the step's labels.
            size: side of a crop, pixels.
            batch_size: pictures a batch; fewer where there are not as many.
            fill: colour of what a crop shows beyond its picture.
            seed: of order and augmentation.
        """
        self._pictures = pictures
        self._size = size
        self.batch_size = min(batch_size, len(pictures))
        self._fill = fill
        self._seed = seed

    def __len__(self) -> int:
        """Return the batches of an epoch; what does not fill one waits for another shuffle."""
        return len(self._pictures) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch `number`."""
        order = (
            np.random.default_rng((self._seed, number)).permutation(len(self._pictures)).tolist()
        )
        for batch in range(len(self)):
            part = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield self._batch(number, part)

    def _batch(self, epoch: int, part: Sequence[int]) -> Batch:
        views = [self._view(epoch, index) for index in part]
        pictures = torch.from_numpy(np.stack([picture for picture, _ in views]))
        labels = torch.from_numpy(np.stack([label for _, label in views]))
        return Batch(pictures.permute(0, 3, 1, 2), labels.long())

    def _view(self, epoch: int, index: int) -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng((self._seed, epoch, index))
        picture, label = self._pictures[index]
        return augment(picture, label, self._size, self._fill, rng)


def made_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same batches, made by a thread beside an accelerator that computes.

    Beside a CPU that computes the thread would take a core from it: half a millisecond a picture
    is saved and far more is lost.
    """
    with ThreadPoolExecutor(1) as loader:
        waiting = deque(loader.submit(next, batches, None) for _ in range(AHEAD))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(loader.submit(next, batches, None))
            yield batch
