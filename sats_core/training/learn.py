"""The learning itself: method, training, weight fusion."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from sats_core.data.batches import LabelledPictures, StepBatches
from sats_core.evaluation.predict import labelled_input
from sats_core.job import StepJob
from sats_core.methods import make_method
from sats_core.models import Segmenter
from sats_core.training.fusion import fuse
from sats_core.training.loop import StoppedError, train
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
    red, green, blue = (round(255 * part) for part in model.backbone.mean)
    batches = StepBatches(
        pictures, settings.size, settings.batch_size, (red, green, blue), settings.seed, memory
    )
    method = make_method(settings, model, old)
    method.prepare(_whole_pictures(pictures, settings.size, model, should_stop))
    train(model, method, batches, settings, work, fingerprint, emit, should_stop)
    if settings.fusion and old is not None:
        fuse(model, old)


def _whole_pictures(
    pictures: LabelledPictures, size: int, model: Segmenter, should_stop: Callable[[], bool]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every training picture as evaluation sees it, with its label, one at a time."""
    for index in range(len(pictures)):
        if should_stop():
            raise StoppedError
        picture, label = pictures[index]
        yield labelled_input(picture, label, size, model)


def fingerprint_of(job: StepJob) -> str:
    """Return what a checkpoint must share with a step to be taken up by it."""
    named = job.model_dump_json(include={"new_classes", "indices", "settings", "held_out"})
    files = (job.dataset, job.old_version, job.memory)
    parts = (named, *(file.name if file else "" for file in files))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
