"""A trainer that methods can be tried with: a few batches, a few steps of gradient descent."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sats_core.methods import Finetune, Trainer
from sats_core.methods.features import FeatureMemory
from sats_core.methods.sampling import PixelSample

STEPS = 3


class AskedToStopError(Exception):
    """What `BatchTrainer` raises where it was made to stop."""


class BatchTrainer(Trainer):
    """Gives the same batches to every pass.

    Attributes:
        told: the loss terms that were told last.
        warnings: what the method warned of.
    """

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]], stop: bool = False) -> None:
        self.seed = 0
        self.features: FeatureMemory | None = None
        self.drawn: tuple[PixelSample, FeatureMemory | None] | None = None
        self.told: dict[str, float] = {}
        self.warnings: list[str] = []
        self._batches = batches
        self._stop = stop

    def look(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self._batches[:most]

    def visit(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self._batches

    def descend(self, method: Finetune) -> None:
        method.prepare(self.look())
        optimizer = torch.optim.SGD(method.model.parameters(), lr=1e-3)
        for _ in range(STEPS):
            for batch in self._batches:
                self.check()
                terms = method.loss_terms(*batch)
                optimizer.zero_grad()
                torch.stack(list(terms.values())).sum().backward()
                optimizer.step()
                self.told = {name: term.item() for name, term in terms.items()}

    def sampled(self, sample: PixelSample, memory: FeatureMemory | None) -> None:
        self.drawn = sample, memory

    def fitted(self, losses: Mapping[str, float]) -> None:
        self.told = dict(losses)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def precision(self) -> AbstractContextManager[None]:
        return nullcontext()

    def check(self) -> None:
        if self._stop:
            raise AskedToStopError
