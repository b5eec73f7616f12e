"""One step from labelled pictures to a scored, exported version."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sats_core.data.cache import PictureCache
from sats_core.data.labels import step_lookup
from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.evaluation.causes import Causes, drawn
from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.evaluation.held_out import HeldOut, Scored, score
from sats_core.evaluation.picture_scores import PictureScores
from sats_core.evaluation.viewing import alike, viewed
from sats_core.events import DoneEvent, LabelsEvent, PhaseEvent, WarningEvent
from sats_core.export import export_version
from sats_core.job import MemoryRecord, StepJob, StepResult
from sats_core.method_settings import FrozenSettings
from sats_core.models import SCRATCH
from sats_core.training.checkpoint import fingerprint_of
from sats_core.training.crew import crew
from sats_core.training.evaluating import evaluation_counter
from sats_core.training.labels import examine_labels
from sats_core.training.learn import Learned, learn
from sats_core.training.memory import MEMORY, Keepable, keep, recall
from sats_core.training.pictures import Gathered, gather
from sats_core.training.progress import Emit
from sats_core.training.results import (
    HELD_OUT,
    MOST_PROBES,
    VERSION,
    probes,
    write_held_out,
    write_result,
)
from sats_core.training.start import Start, begin


def run_step(job: StepJob, emit: Emit, should_stop: Callable[[], bool]) -> None:
    """Validate, train, evaluate and export; everything ends up in `job.result`.

    Written there: `version/` (weights, config, graph, scores, card), `held_out.zip` and
    `memory.zip` where the job keeps them, and `result.json` last. A step that was lost resumes
    from the checkpoint in `job.work`.

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
    if start.old and start.settings.memory and not job.memory:
        emit(WarningEvent(message="the version before keeps no pictures: none are replayed"))
    size = start.settings.size
    with ExitStack() as stack:
        reader = open_reader(stack.enter_context(ZipSource(job.dataset, job.limits)))
        cache = stack.enter_context(PictureCache(job.work / "pictures.raw", size))
        gathered = gather(reader, job, start.catalogue, cache, emit, should_stop)
        if gathered.unshown:
            job, start = _left_out(job, start, gathered.unshown, cache)
        earlier = _earlier(stack, job)
        labels = examine_labels(start, job.new_classes, gathered, cache, earlier, emit, should_stop)
        emit(LabelsEvent(report=labels))
        for warning in labels.warnings:
            emit(WarningEvent(message=warning.message))
        own = Keepable(reader, gathered.train, gathered.shown, job.new_classes)
        replayed = stack.enter_context(PictureCache(job.work / "memory.raw", size))
        sources = [own]
        if job.memory and start.settings.memory:
            kept = open_reader(stack.enter_context(ZipSource(job.memory, job.limits.of_stored())))
            sources.append(recall(kept, start.catalogue, replayed, should_stop))
        emit(PhaseEvent(phase="training"))
        learned = learn(
            start,
            cache,
            replayed,
            job.work,
            fingerprint_of(job),
            emit,
            should_stop,
            job.halvings,
            partial(crew, job, cache, replayed, emit),
        )
        emit(PhaseEvent(phase="evaluating"))
        sets = [HeldOut(reader, gathered.held_out, job.new_classes), *earlier]
        scored, report = _evaluate(start, sets, cache, job.at_once, emit, should_stop)
        memory = _keep(job, start, sources)
        result = StepResult(
            classes=tuple(asdict(c) for c in start.catalogue.classes),
            scores=scored.scores,
            confusion=scored.confusion,
            forgetting_report=report,
            settings=_as_run(start, learned),
            backbone_start=start.backbone_start,
            trained_pictures=len(cache),
            held_out_pictures=len(gathered.held_out),
            labels=labels,
            memory=memory,
            replayed_pictures=len(replayed),
            seconds=time.monotonic() - began,
        )
        _write(job, start, reader, gathered, result, learned, scored.pictures)
    emit(DoneEvent())


def _as_run(start: Start, learned: Learned) -> dict[str, Any]:
    """Return the settings that the step ran with, and what computed it."""
    settings, division = start.settings, learned.division
    if division is not None:
        how = {"accumulate": division.parts, "checkpoint_activations": division.recompute}
        settings = settings.model_copy(update=how)
    computed = {"device": next(start.model.parameters()).device.type, "devices": learned.devices}
    return {
        **settings.as_run(base=start.old is None),
        "method_settings": _chosen(start),
        **computed,
    }


def _chosen(start: Start) -> dict[str, Any]:
    """Return the method's own settings, every default filled in and units as many as were learned;
    of a base step, which reads none, as they were asked for."""
    if start.old is None:
        return start.settings.method_settings
    chosen = start.settings.for_method()
    if isinstance(chosen, FrozenSettings):
        learned = start.model.head.width - start.old.model.head.width
        chosen = chosen.model_copy(update={"units": learned})
    told: dict[str, Any] = chosen.model_dump(mode="json")
    return told


def _warn_of_scratch(start: Start, emit: Emit) -> None:
    if start.old is None and start.backbone_start.startswith(SCRATCH):
        emit(
            WarningEvent(
                message=f"the backbone {start.settings.backbone} starts from {start.backbone_start}"
                ": expect to need more pictures and epochs than with pretrained weights"
            )
        )


def _left_out(
    job: StepJob, start: Start, names: Sequence[str], cache: PictureCache
) -> tuple[StepJob, Start]:
    """Begin again without the new classes that no picture shows; the cache gets the new labels."""
    less = job.without(names)
    begun = begin(less)
    channels = {name: begun.catalogue.channel(name) for name in less.new_classes}
    cache.relabel(step_lookup([c.name for c in start.catalogue.classes[1:]], channels))
    return less, begun


def _earlier(stack: ExitStack, job: StepJob) -> list[HeldOut]:
    """Open the held-out pictures of all steps before this one."""
    sets = []
    for earlier in job.earlier:
        opened = open_reader(stack.enter_context(ZipSource(earlier.path, job.limits.of_stored())))
        sets.append(HeldOut(opened, opened.ids, earlier.classes, earlier.compared, earlier.version))
    return sets


def _evaluate(
    start: Start,
    sets: list[HeldOut],
    cache: PictureCache,
    at_once: int,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> tuple[Scored, ForgettingReport | None]:
    """Score the new version and, where it had something to forget, find out why it did."""
    size, old = start.settings.size, start.old
    sample = drawn(len(cache)) if old else ()
    todo = sum(len(held_out.ids) for held_out in sets) + len(sample)
    seen = evaluation_counter(todo, emit, should_stop)
    if old is None:
        found = score(start.model, size, start.catalogue, {}, sets, seen, at_once=at_once)
        return found, None
    causes = Causes(start.model, old.model)
    scored = score(
        start.model,
        size,
        start.catalogue,
        old.scores.introduced,
        sets,
        seen,
        old.model,
        watch=causes.add,
        at_once=at_once,
    )

    def trained() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in alike(cache, sample, size, start.model, at_once):
            yield viewed(cache, batch, size, start.model)
            for _ in batch:
                seen()

    return scored, causes.report(scored.scores.forgetting, trained())


def _keep(job: StepJob, start: Start, sources: list[Keepable]) -> MemoryRecord | None:
    """Write what the version keeps for replay, where its settings say that it keeps anything."""
    if not start.settings.memory:
        return None
    job.result.mkdir(parents=True, exist_ok=True)
    return keep(
        job.result / MEMORY,
        sources,
        start.catalogue.foreground,
        start.settings.memory,
        start.settings.seed,
    )


def _write(
    job: StepJob,
    start: Start,
    reader: Reader,
    gathered: Gathered,
    result: StepResult,
    learned: Learned,
    pictures: PictureScores,
) -> None:
    """Write everything that the step gives back, `result.json` last."""
    config = {
        "size": start.settings.size,
        "settings": result.settings,
        "backbone_start": start.backbone_start,
        "trained_pictures": result.trained_pictures,
        "replayed_pictures": result.replayed_pictures,
        "memory": result.memory.model_dump() if result.memory else None,
    }
    probed = (reader.picture(picture_id) for picture_id in gathered.held_out[:MOST_PROBES])
    export_version(
        job.result / VERSION,
        start.model,
        start.catalogue,
        result.scores,
        result.forgetting_report,
        config,
        probes(start.model.to("cpu"), start.settings.size, probed),
        learned.features,
        learned.curvature,
        pictures if job.held_out.keep else pictures.of_earlier(),
    )
    if job.held_out.keep:
        write_held_out(job.result / HELD_OUT, reader, gathered.held_out, job.new_classes)
    write_result(job.result, result)
