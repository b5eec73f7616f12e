"""The learning itself: method, training, weight fusion."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from sats_core.data.batches import LabelledPictures, StepBatches
from sats_core.evaluation.predict import labelled_input
from sats_core.job import StepJob
from sats_core.methods import make_method
from sats_core.models import Segmenter
from sats_core.settings import StepSettings
from sats_core.training.fusion import fuse
from sats_core.training.loop import StoppedError, autocast, train
from sats_core.training.progress import Emit
from sats_core.training.start import Start


def learn(
    start: Start,
    pictures: LabelledPictures,
    memory: LabelledPictures,
    work: Path,
    fingerprint: str,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> None:
    """Train `start.model` in place, by the method that its settings name.

    Args:
        start: what the step starts from.
        pictures: the step's training pictures (H, W, 3) with the step's labels (H, W).
        memory: replayed pictures with labels of old classes; may be empty.
        work: folder of the checkpoint.
        fingerprint: of the step; a checkpoint of another one is not used.
        emit: where progress goes.
        should_stop: asked before every batch.

    Raises:
        StoppedError: `should_stop` said yes.
        DivergedError: a loss is not finite.
    """
    settings, model = start.settings, start.model
    old = start.old.model if start.old else None
    batches = StepBatches(pictures, settings.size, settings.batch_size, settings.seed, memory)
    method = make_method(settings, model, old)
    device = next(model.parameters()).device
    with autocast(device, settings.size):
        method.prepare(_whole_pictures(pictures, settings, model, should_stop))
    train(model, method, batches, settings, work, fingerprint, emit, should_stop)
    if settings.fusion and old is not None:
        fuse(model, old)


def _whole_pictures(
    pictures: LabelledPictures,
    settings: StepSettings,
    model: Segmenter,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every training picture once as evaluation sees it, in batches of one size each."""
    size = settings.size
    view = model.view_at(size)
    alike: dict[tuple[int, int], list[int]] = {}
    for index in range(len(pictures)):
        height, width = pictures[index][1].shape
        alike.setdefault(view.room(*view.shown(height, width)), []).append(index)
    for indices in alike.values():
        for first in range(0, len(indices), settings.batch_size):
            if should_stop():
                raise StoppedError
            views = [
                labelled_input(*pictures[index], size, model)
                for index in indices[first : first + settings.batch_size]
            ]
            yield torch.cat([view[0] for view in views]), torch.cat([view[1] for view in views])


def fingerprint_of(job: StepJob) -> str:
    """Return what a checkpoint must share with a step to be taken up by it."""
    named = job.model_dump_json(include={"new_classes", "indices", "settings", "held_out"})
    files = (job.dataset, job.old_version, job.memory)
    parts = (named, *(file.name if file else "" for file in files))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
