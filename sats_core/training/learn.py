"""The learning itself: method, training, weight fusion."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sats_core.classes import BACKGROUND
from sats_core.data.batches import LabelledPictures, StepBatches
from sats_core.evaluation.viewing import alike, viewed
from sats_core.events import ProgressEvent, WarningEvent
from sats_core.method_settings import KfacSettings
from sats_core.methods import Finetune, make_method
from sats_core.methods.curvature import Curvature, curvature_of
from sats_core.methods.features import FeatureMemory
from sats_core.methods.sampling import ENOUGH, PixelSample, see
from sats_core.training.division import Divider, Division
from sats_core.training.fusion import fuse
from sats_core.training.loop import StoppedError, autocast, train
from sats_core.training.memory_use import memory_use
from sats_core.training.progress import Emit, Progress
from sats_core.training.ranks import ALONE, Ranks
from sats_core.training.schedule import moments_of
from sats_core.training.start import Start
from sats_core.training.trial import MOST_TRIED, Trial

CPU = torch.device("cpu")

Crew = Callable[[int], AbstractContextManager[Ranks]]
"""Brings the ranks that share batches of so many pictures."""


def alone(_batch_size: int) -> AbstractContextManager[Ranks]:
    """Return a crew of one."""
    return nullcontext(ALONE)


class Learned(NamedTuple):
    """What the learning leaves beside the model.

    Attributes:
        features: what the version keeps of its classifier's inputs; None where it keeps none.
        curvature: what the version keeps of how its loss minds each weight; None where it keeps
            none, as by every method but `kfac`.
        devices: how many computed; a method that does not descend knows one.
        division: of each one's share of a batch; None where there were no batches.
    """

    features: FeatureMemory | None
    curvature: Curvature | None
    devices: int
    division: Division | None


def learn(
    start: Start,
    pictures: LabelledPictures,
    memory: LabelledPictures,
    work: Path,
    fingerprint: str,
    emit: Emit,
    should_stop: Callable[[], bool],
    halvings: int = 0,
    crew: Crew = alone,
) -> Learned:
    """Train `start.model` in place, by the method that its settings name.

    Args:
        start: what the step starts from.
        pictures: the step's training pictures (H, W, 3) with the step's labels (H, W).
        memory: replayed pictures with labels of old classes; may be empty.
        work: folder of the checkpoint.
        fingerprint: of the step; a checkpoint of another one is not used.
        emit: where progress goes.
        should_stop: asked before every batch.
        halvings: how often memory ran out before.
        crew: brings the ranks that share the batches of a method that descends.

    Raises:
        StoppedError: `should_stop` said yes.
        DivergedError: a loss is not finite.
    """
    old, curvature = (start.old.model, start.old.curvature) if start.old else (None, None)
    trainer = StepTrainer(
        start, pictures, memory, work, fingerprint, emit, should_stop, halvings, crew
    )
    make_method(start.settings, start.model, old, curvature).learn(trainer)
    if start.settings.fusion and old is not None:
        fuse(start.model, old)
    return Learned(_remembered(trainer), _curved(trainer), trainer.devices, trainer.division)


def _remembered(trainer: "StepTrainer") -> FeatureMemory | None:
    """Return what the version keeps of its classifier's inputs, those of earlier steps moved along
    with the model."""
    settings = trainer.start.settings
    most, seed = settings.features, settings.seed
    if not most:
        return None
    drawn = None if settings.fusion else trainer.drawn
    if drawn is None:
        old = trainer.start.old.model if trainer.start.old else None
        with trainer.precision():
            seen = see(trainer.start.model, old, trainer.look(ENOUGH), most, seed)
        if seen is None:
            return trainer.features
        drawn = seen.after, trainer.features and trainer.features.followed(*seen)
    sample, memory = drawn
    old_classes = (
        trainer.start.old.model.classifier.channels if trainer.start.old else BACKGROUND + 1
    )
    added = FeatureMemory.of(sample, hides=old_classes)
    return (memory.joined(added) if memory else added).thinned(most, seed)


def _curved(trainer: "StepTrainer") -> Curvature | None:
    """Return what holds the weights in a later step by `kfac`, where this one is by it."""
    start = trainer.start
    settings = start.settings.for_method()
    if not isinstance(settings, KfacSettings):
        return None
    pictures = trainer.look(settings.pictures)
    found = curvature_of(start.model, pictures, start.settings.seed)
    before = start.old.curvature if start.old else None
    return before.merged(found.on(CPU), settings.earlier) if before else found


@dataclass
class StepTrainer:
    """What training lends a method (`sats_core.methods.Trainer`); arguments as for `learn`."""

    start: Start
    pictures: LabelledPictures
    memory: LabelledPictures
    work: Path
    fingerprint: str
    emit: Emit
    should_stop: Callable[[], bool]
    halvings: int = 0
    crew: Crew = alone

    devices: int = field(init=False, default=1)
    division: Division | None = field(init=False, default=None)
    seed: int = field(init=False)
    features: FeatureMemory | None = field(init=False)
    drawn: tuple[PixelSample, FeatureMemory | None] | None = field(init=False, default=None)
    _progress: Progress | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.seed = self.start.settings.seed
        kept = self.start.old.features if self.start.old else None
        device = next(self.start.model.parameters()).device
        self.features = kept.on(device) if kept else None

    def look(self, most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Trainer.look`."""
        count = len(self.pictures)
        if most is None or count <= most:
            return self._whole(self.pictures)
        chosen = np.linspace(0, count - 1, most).astype(int).tolist()
        return self._whole([self.pictures[index] for index in chosen])

    def descend(self, method: Finetune) -> None:
        """See `Trainer.descend`; resumes from a checkpoint where there is one.

        Every rank runs this. What else a method does the first one does alone.
        """
        settings, model = self.start.settings, self.start.model
        batches = StepBatches(
            self.pictures, settings.size, settings.batch_size, settings.seed, self.memory
        )
        with self.crew(batches.batch_size) as ranks:
            with self.precision():
                method.prepare(self._whole(self.pictures, ranks), ranks.total)
            division = self._divided(method, batches, ranks)
            if division.because:
                self.warn(division.because)
            with model.backbone.recomputing(division.recompute):
                train(
                    model,
                    method,
                    batches,
                    settings,
                    self.work,
                    self.fingerprint,
                    self.emit,
                    self.should_stop,
                    ranks,
                    division,
                )
        self.devices, self.division = ranks.count, division

    def _divided(self, method: Finetune, batches: StepBatches, ranks: Ranks) -> Division:
        """Return in what parts a batch fits into memory."""
        settings, model, base = self.start.settings, self.start.model, method.old is None
        first = ranks.own(batches.batch_size).start
        make = next(batches.epoch(0, slice(first, first + MOST_TRIED)))
        divider = Divider(
            settings,
            batches.batch_size,
            base,
            self.halvings,
            ranks,
            Trial(model, method, make(), settings.size),
            memory_use(next(model.parameters()).device),
            later=moments_of(model, settings),
        )
        return divider.find()

    def visit(self) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Trainer.visit`; nothing is resumed, the pass is made again."""
        todo = len(self.pictures) + len(self.memory)
        first = ProgressEvent(phase="training", epochs=1, step=0, steps=todo)
        progress = self._progress = Progress(self.emit, first, todo)
        done = 0
        for pictures, labels in chain(self._whole(self.pictures), self._whole(self.memory)):
            yield pictures, labels
            done += len(pictures)
            progress.advance(len(pictures), step=done)

    def sampled(self, sample: PixelSample, memory: FeatureMemory | None) -> None:
        """See `Trainer.sampled`."""
        self.drawn = sample, memory

    def fitted(self, losses: Mapping[str, float]) -> None:
        """See `Trainer.fitted`; the pass and its fit are told as one epoch."""
        if self._progress is None:
            raise RuntimeError("nothing was visited")
        self._progress.end_epoch(1, losses=dict(losses))

    def check(self) -> None:
        """See `Trainer.check`.

        Raises:
            StoppedError: `should_stop` said yes.
        """
        if self.should_stop():
            raise StoppedError

    def warn(self, message: str) -> None:
        """See `Trainer.warn`."""
        self.emit(WarningEvent(message=message))

    def precision(self) -> AbstractContextManager[None]:
        """See `Trainer.precision`."""
        return autocast(next(self.start.model.parameters()).device, self.start.settings.size)

    def _whole(
        self, pictures: LabelledPictures, ranks: Ranks = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every picture once as evaluation sees it, in batches of one size each; of several
        ranks each has other batches."""
        settings, model = self.start.settings, self.start.model
        at_once = max(1, settings.batch_size >> self.halvings)
        places = range(len(pictures))
        for batch in ranks.every(alike(pictures, places, settings.size, model, at_once)):
            self.check()
            yield viewed(pictures, batch, settings.size, model)
