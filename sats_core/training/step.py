"""One step from labelled pictures to a scored, exported version."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict

import torch
from torch import Tensor

from sats_core.data.batches import StepBatches
from sats_core.data.cache import PictureCache
from sats_core.data.labels import step_lookup
from sats_core.data.readers import EncodedPicture, Reader, open_reader, write_voc_zip
from sats_core.data.sources import ZipSource
from sats_core.evaluation.held_out import HeldOut, score
from sats_core.evaluation.predict import labelled_input, model_input
from sats_core.evaluation.scores import Scores
from sats_core.events import DoneEvent, PhaseEvent, ProgressEvent, WarningEvent
from sats_core.export import export_version
from sats_core.job import StepJob, StepResult
from sats_core.methods import make_method
from sats_core.models import SCRATCH, Segmenter
from sats_core.training.loop import StoppedError, train
from sats_core.training.pictures import Split, gather
from sats_core.training.progress import Emit, Progress
from sats_core.training.start import Start, begin

RESULT = "result.json"
VERSION = "version"
HELD_OUT = "held_out.zip"


def run_step(job: StepJob, emit: Emit, should_stop: Callable[[], bool]) -> None:
    """Validate, train, evaluate and export; everything ends up in `job.result`.

    Written there: `version/` (weights, config, graph, scores, card), `held_out.zip` where the job
    keeps one, and `result.json` last. A step that was lost resumes from the checkpoint in
    `job.work`.

    Args:
        job: the step.
        emit: where events go, `DoneEvent` last.
        should_stop: asked often; the step ends soon after it says yes.

    Raises:
        CoreError: the input is wrong; trying again gives the same.
        StoppedError: `should_stop` said yes.
    """
    began = time.monotonic()
    if job.threads:
        torch.set_num_threads(job.threads)
    job.work.mkdir(parents=True, exist_ok=True)
    start = begin(job)
    emit(PhaseEvent(phase="validating"))
    _warn_of_scratch(start, emit)
    with (
        ZipSource(job.dataset, job.limits) as source,
        PictureCache(job.work / "pictures.raw", start.settings.size) as cache,
    ):
        reader = open_reader(source)
        split = gather(reader, job, start.catalogue, cache, emit, should_stop)
        emit(PhaseEvent(phase="training"))
        _train(job, start, cache, emit, should_stop)
        emit(PhaseEvent(phase="evaluating"))
        scores = _score(job, start, reader, split, emit, should_stop)
        _write(job, start, reader, split, scores, began)
    emit(DoneEvent())


def _warn_of_scratch(start: Start, emit: Emit) -> None:
    if start.old is None and start.backbone_start.startswith(SCRATCH):
        emit(
            WarningEvent(
                message=f"the backbone {start.settings.backbone} starts from {start.backbone_start}"
                ": expect to need more pictures and epochs than with pretrained weights"
            )
        )


def _train(
    job: StepJob, start: Start, cache: PictureCache, emit: Emit, should_stop: Callable[[], bool]
) -> None:
    settings, model = start.settings, start.model
    mean = model.backbone.mean
    fill = (round(255 * mean[0]), round(255 * mean[1]), round(255 * mean[2]))
    batches = StepBatches(cache, settings.size, settings.batch_size, fill, settings.seed)
    method = make_method(settings, model, start.old.model if start.old else None)
    method.prepare(_whole_pictures(cache, settings.size, model, should_stop))
    train(model, method, batches, settings, job.work, _fingerprint(job), emit, should_stop)


def _whole_pictures(
    cache: PictureCache, size: int, model: Segmenter, should_stop: Callable[[], bool]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every training picture as evaluation sees it, with its label, one at a time."""
    for index in range(len(cache)):
        if should_stop():
            raise StoppedError
        picture, label = cache[index]
        pixels, labels = labelled_input(picture, label, size, model)
        yield pixels, labels


def _fingerprint(job: StepJob) -> str:
    """Return what a checkpoint must share with a step to be taken up by it."""
    named = job.model_dump_json(include={"new_classes", "indices", "settings", "held_out"})
    parts = (named, job.dataset.name, job.old_version.name if job.old_version else "")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _score(
    job: StepJob,
    start: Start,
    reader: Reader,
    split: Split,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> Scores:
    """Score on the held-out pictures of this step and of all before it."""
    with ExitStack() as stack:
        sets = [HeldOut(reader, split.held_out, job.new_classes)]
        for earlier in job.earlier:
            source = stack.enter_context(ZipSource(earlier.path, job.limits))
            opened = open_reader(source)
            sets.append(HeldOut(opened, opened.ids, earlier.classes))
        todo = sum(len(held_out.ids) for held_out in sets)
        progress = Progress(emit, ProgressEvent(phase="evaluating", step=0, steps=todo), todo)

        def seen(pictures: int) -> None:
            if should_stop():
                raise StoppedError
            progress.advance(1, step=pictures)

        introduced = start.old.scores.introduced if start.old else {}
        return score(start.model, start.settings.size, start.catalogue, introduced, sets, seen)


def _write(
    job: StepJob, start: Start, reader: Reader, split: Split, scores: Scores, began: float
) -> None:
    """Write everything that the step gives back, `result.json` last."""
    config = {
        "size": start.settings.size,
        "settings": start.settings.model_dump(),
        "backbone_start": start.backbone_start,
        "trained_pictures": len(split.train),
    }
    export_version(
        job.result / VERSION,
        start.model,
        start.catalogue,
        scores,
        config,
        _probes(start, reader, split),
    )
    if job.held_out.keep:
        lookup = step_lookup(
            reader.classes, {name: i for i, name in enumerate(job.new_classes, start=1)}
        )

        def kept() -> Iterator[EncodedPicture]:
            for picture_id in split.held_out:
                encoded = reader.encoded(picture_id)
                yield EncodedPicture(
                    encoded.id, encoded.suffix, encoded.data, lookup[encoded.label]
                )

        write_voc_zip(job.result / HELD_OUT, kept(), job.new_classes)
    result = StepResult(
        classes=tuple(asdict(c) for c in start.catalogue.classes),
        scores=scores,
        settings=start.settings,
        backbone_start=start.backbone_start,
        trained_pictures=len(split.train),
        held_out_pictures=len(split.held_out),
        seconds=time.monotonic() - began,
    )
    partial = job.result / f"{RESULT}.partial"
    partial.write_text(result.model_dump_json(indent=2) + "\n")
    partial.replace(job.result / RESULT)


def _probes(start: Start, reader: Reader, split: Split) -> list[Tensor]:
    """Return inputs of different sizes and batches, on which the exported graph is checked."""
    model = start.model.to("cpu")
    views = [
        model_input(reader.picture(picture_id), start.settings.size, model)[0]
        for picture_id in split.held_out[:8]
    ]
    other = torch.nn.functional.interpolate(views[0], scale_factor=2, mode="nearest")
    return [*views, torch.cat([other, other.flip(-1)])]
