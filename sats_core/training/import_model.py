"""A checkpoint that was trained elsewhere becomes a scored, exported version, untrained."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict

import torch

from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.data.transforms import Pixels
from sats_core.errors import DatasetError, Issue, ModelError
from sats_core.evaluation.held_out import HeldOut, Scored, score
from sats_core.evaluation.picture_scores import PictureScores
from sats_core.events import DoneEvent, PhaseEvent, ProgressEvent, WarningEvent
from sats_core.export import export_version
from sats_core.job import ImportJob, ImportResult, Origin
from sats_core.methods.features import FeatureMemory
from sats_core.segformer.importing import Imported, import_directory, read_directory
from sats_core.segformer.unpacking import unpack
from sats_core.training.evaluating import evaluation_counter
from sats_core.training.import_features import parted, remember
from sats_core.training.loop import StoppedError
from sats_core.training.pictures import refuse
from sats_core.training.progress import Emit, Progress
from sats_core.training.results import (
    HELD_OUT,
    MOST_PROBES,
    VERSION,
    made_up_views,
    probes,
    write_held_out,
    write_result,
)


def run_import(job: ImportJob, emit: Emit, should_stop: Callable[[], bool]) -> None:
    """Read, score and export a checkpoint; everything ends up in `job.result`.

    Written there: `version/` (weights, config, graph, scores, card), `held_out.zip` where labelled
    pictures came along, and `result.json` last.

    Args:
        job: the import.
        emit: where events go, `DoneEvent` last.
        should_stop: asked often; the import ends soon after it says yes.

    Raises:
        CoreError: the checkpoint or the pictures are wrong; trying again gives the same.
        StoppedError: `should_stop` said yes.
    """
    began = time.monotonic()
    if job.threads:
        torch.set_num_threads(job.threads)
    job.work.mkdir(parents=True, exist_ok=True)
    emit(PhaseEvent(phase="validating"))
    imported = _imported(job)
    with ExitStack() as stack:
        held_out, taught = list[HeldOut](), list[HeldOut]()
        if job.evaluate:
            reader = open_reader(stack.enter_context(ZipSource(job.evaluate, job.limits)))
            known = _known(reader, imported, emit)
            train, others = parted(reader)
            held_out = [HeldOut(reader, others, known)]
            taught = [HeldOut(reader, train, known)] if job.features else []
            _check([*held_out, *taught], emit, should_stop)
        emit(PhaseEvent(phase="evaluating"))
        todo = sum(len(pictures.ids) for pictures in (*held_out, *taught))
        seen = evaluation_counter(todo, emit, should_stop)
        features = remember(imported, taught[0], job.features, seen) if taught else None
        scored = _scored(imported, held_out, seen)
        result = _result(job, imported, scored, began)
        _write(job, imported, held_out, features, result, scored.pictures)
    emit(DoneEvent())


def _imported(job: ImportJob) -> Imported:
    """Lay the checkpoint out as a directory and build its model.

    Raises:
        ModelError: it cannot be read, or its classes are not those that the job names.
    """
    directory = job.source
    if not directory.is_dir():
        directory = job.work / "checkpoint"
        unpack(job.source, job.limits, directory)
    order = read_directory(directory).class_order(job.background)
    if order.foreground != job.classes:
        raise ModelError(
            "the checkpoint's classes are not those that the import was asked for: "
            f"{len(order.foreground)} instead of {len(job.classes)}, or in another order"
        )
    return import_directory(directory, job.background, job.indices, job.allow_pickle)


def _known(reader: Reader, imported: Imported, emit: Emit) -> tuple[str, ...]:
    """Return the classes of labelled pictures that the model knows, and warn of the others.

    Raises:
        DatasetError: it knows none of them.
    """
    catalogue = imported.catalogue
    known = tuple(name for name in reader.classes if name in catalogue.foreground)
    unknown = [name for name in reader.classes if name not in known and name != imported.background]
    if not known:
        raise DatasetError(
            f"the labelled pictures have no class that the model knows: {', '.join(unknown[:20])}",
            [
                Issue("the model does not know this class", class_name=name, code="unknown")
                for name in unknown
            ],
        )
    if unknown:
        emit(
            WarningEvent(
                message=f"the model does not know {', '.join(unknown[:20])}"
                f"{', ...' if len(unknown) > 20 else ''}: scored as background"
            )
        )
    return known


def _check(sets: Sequence[HeldOut], emit: Emit, should_stop: Callable[[], bool]) -> None:
    """Read every labelled picture once.

    Raises:
        DatasetError: naming every file that is wrong.
        StoppedError: `should_stop` said yes.
    """
    wanted = [(pictures.reader, each) for pictures in sets for each in pictures.ids]
    todo = len(wanted)
    progress = Progress(emit, ProgressEvent(phase="validating", step=0, steps=todo), todo)
    issues: list[Issue] = []
    for number, (reader, picture_id) in enumerate(wanted, start=1):
        if should_stop():
            raise StoppedError
        try:
            reader.read(picture_id)
        except DatasetError as error:
            issues.extend(error.issues)
        progress.advance(1, step=number)
    refuse(issues)


def _scored(imported: Imported, held_out: Sequence[HeldOut], seen: Callable[[], None]) -> Scored:
    """Score the model on labelled pictures; without any, nothing but None."""
    size = imported.checkpoint.processor.view.side()
    return score(imported.model, size, imported.catalogue, {}, held_out, seen)


def _result(job: ImportJob, imported: Imported, scored: Scored, began: float) -> ImportResult:
    encoder = imported.checkpoint.encoder
    return ImportResult(
        classes=tuple(asdict(c) for c in imported.catalogue.classes),
        scores=scored.scores,
        confusion=scored.confusion,
        origin=Origin(
            source=job.source_name,
            sha256=imported.sha256,
            architecture=encoder.architecture,
            transformers=encoder.transformers,
            background=imported.background,
        ),
        backbone=encoder.backbone,
        backbone_start=f"imported: {job.source_name}",
        size=imported.checkpoint.processor.view.side(),
        held_out_pictures=scored.scores.pictures,
        seconds=time.monotonic() - began,
    )


def _write(
    job: ImportJob,
    imported: Imported,
    held_out: Sequence[HeldOut],
    features: FeatureMemory | None,
    result: ImportResult,
    pictures: PictureScores,
) -> None:
    """Write everything that the import gives back, `result.json` last."""
    config = {
        "kind": "imported",
        "size": result.size,
        "origin": result.origin.model_dump(),
        "backbone_start": result.backbone_start,
    }
    job.result.mkdir(parents=True, exist_ok=True)
    export_version(
        job.result / VERSION,
        imported.model,
        imported.catalogue,
        result.scores,
        None,
        config,
        probes(imported.model, result.size, _probed(held_out)),
        features,
        pictures=pictures,
    )
    for kept in held_out:
        write_held_out(job.result / HELD_OUT, kept.reader, kept.ids, kept.classes)
    write_result(job.result, result)


def _probed(held_out: Sequence[HeldOut]) -> Iterator[Pixels]:
    """Yield pictures to compare graph and torch on: labelled ones, or noise and gradients."""
    for pictures in held_out:
        for picture_id in pictures.ids[:MOST_PROBES]:
            yield pictures.reader.picture(picture_id)
    if not held_out:
        yield from made_up_views()
