"""One sequence of steps of a protocol, step by step through the learning core."""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.learning_curvature import with_base_curvature
from benchmarks.learning_data import Bench
from benchmarks.learning_frozen_base import score_frozen_base
from benchmarks.learning_joint import MOST_STAGES, check_stages, converged, stage_epochs, stages
from benchmarks.learning_plan import BASE, FROZEN_BASE, JOINT, PRESETS, Sequence, Variant
from benchmarks.learning_teacher import sureness
from benchmarks.machine import commit, hardware, peak, reset_peak
from sats_core.classes import Catalogue
from sats_core.data.cache import PictureCache
from sats_core.data.readers import open_reader
from sats_core.data.sources import DirectorySource, ZipSource
from sats_core.errors import ModelError
from sats_core.evaluation.held_out import HeldOut, score
from sats_core.evaluation.predict import model_input
from sats_core.evaluation.scores import Scores
from sats_core.events import Event
from sats_core.export import CONFIG, export_version
from sats_core.heap import keep_freed_memory
from sats_core.job import HeldOutChoice, StepJob
from sats_core.models import SCRATCH
from sats_core.settings import Limits
from sats_core.training.checkpoint import fingerprint_of
from sats_core.training.learn import Learned, learn
from sats_core.training.memory import MEMORY, Keepable, keep, recall
from sats_core.training.pictures import gather
from sats_core.training.start import Start, begin
from sats_core.version_config import read_version_config

PROBES = 8
"""Validation pictures on which a version's exported graph is checked."""

Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Step:
    """One training to do.

    Attributes:
        number: of its folder.
        classes: that it teaches.
        pictures: ids of what it trains on.
        parent: folder of the step that it adds classes to; None without one.
        settings: that differ from the preset's.
    """

    number: int
    classes: tuple[str, ...]
    pictures: tuple[str, ...]
    parent: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def run_sequence(run: Sequence, threads: int, emit: Callable[[int, Event], None]) -> None:
    """Take every step of a run that is not taken yet; each leaves a folder with `step.json`.

    Args:
        run: what to run. The base step's folder must be there, but for `base` and `joint`.
        threads: of torch.
        emit: called with the number of the step and its event.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    with DirectorySource(run.data, Limits()) as source:
        bench = Bench(run, open_reader(source))
        if run.variant.method == BASE:
            _take(run, bench, Step(0, bench.steps[0], bench.pictures(0)), threads, emit)
        elif run.variant.method == JOINT:
            _train_joint(run, bench, threads, emit)
        elif run.variant.method == FROZEN_BASE:
            score_frozen_base(run, bench)
        else:
            parent = replace(run, variant=Variant(BASE)).folder / "step0"
            for number in range(1, run.last_step + 1):
                step = Step(number, bench.steps[number], bench.pictures(number), parent)
                _take(run, bench, step, threads, emit)
                parent = run.folder / f"step{number}"


def _train_joint(
    run: Sequence, bench: Bench, threads: int, emit: Callable[[int, Event], None]
) -> None:
    """Train on everything at once, for longer and longer, each time from the same start."""
    first = PRESETS[run.preset].first_joint_epochs(run.dataset)
    check_stages(run.folder, first)
    for number in range(MOST_STAGES):
        epochs = {"epochs": stage_epochs(first, number)}
        step = Step(number, bench.classes, bench.everything(), settings=epochs)
        _take(run, bench, step, threads, emit)
        if converged(stages(run.folder)):
            return


def _take(
    run: Sequence,
    bench: Bench,
    step: Step,
    threads: int,
    emit: Callable[[int, Event], None],
) -> None:
    folder = run.folder / f"step{step.number}"
    if (folder / "step.json").exists():
        return
    (folder / "work").mkdir(parents=True, exist_ok=True)
    job = _job(run, step, folder, threads)
    bench.reader.splits = {"train": step.pictures, "val": bench.validation[:PROBES]}
    reset_peak()
    began = time.monotonic()
    start = _begin(run, job)
    paused = time.monotonic()
    start = with_base_curvature(run, bench, start)
    aside = time.monotonic() - paused
    trained, learned = _trained(
        run, bench, step, job, start, lambda event: emit(step.number, event)
    )
    aside += trained.pop("aside")
    trained |= {"seconds": time.monotonic() - began - aside, "peak_mib": peak()}
    scores = _scored(start, bench)
    _save(folder, start, bench, scores, learned)
    record = {
        "step": step.number,
        "classes": list(step.classes),
        "trained_pictures": len(step.pictures),
        **trained,
        "seconds_with_scoring": time.monotonic() - began,
        "iou": scores.iou,
        "introduced": scores.introduced,
        "settings": start.settings.model_dump(),
        "backbone_start": start.backbone_start,
        "curvature_mib": learned.curvature.size / 2**20 if learned.curvature else None,
        "commit": commit(),
        "hardware": hardware("cuda" if torch.cuda.is_available() else "cpu"),
        "threads": threads,
    }
    for scratch in (folder / "work").iterdir():
        scratch.unlink()
    partial = folder / "step.json.partial"
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(folder / "step.json")
    _forget(run, step)


def _forget(run: Sequence, step: Step) -> None:
    """Remove the version that nobody starts from any more; the base version serves all methods."""
    if run.variant.method == JOINT:
        shutil.rmtree(run.folder / f"step{step.number}" / "version", ignore_errors=True)
    elif step.parent and step.parent.parent == run.folder:
        shutil.rmtree(step.parent / "version", ignore_errors=True)


def _begin(run: Sequence, job: StepJob) -> Start:
    start = begin(job)
    if job.settings.pretrained and start.backbone_start.startswith(SCRATCH):
        raise ModelError(
            f"preset {run.preset} starts from pretrained weights of {job.settings.backbone}, and "
            f"the backbone starts from {start.backbone_start}: say --backbone-dir"
        )
    return start


def _trained(
    run: Sequence, bench: Bench, step: Step, job: StepJob, start: Start, emit: Emit
) -> tuple[dict[str, Any], Learned]:
    """Train `start.model`; return what is known of it, `aside` the seconds of looking only, and
    what its version keeps."""
    folder, size, aside = job.result, start.settings.size, 0.0
    with ExitStack() as stack:
        cache = stack.enter_context(PictureCache(job.work / "pictures.raw", size))
        replayed = stack.enter_context(PictureCache(job.work / "memory.raw", size))
        gathered = gather(bench.reader, job, start.catalogue, cache, emit, _never)
        sources = [Keepable(bench.reader, gathered.train, gathered.shown, step.classes)]
        if run.variant.memory and step.parent:
            path = _memory_of(run, bench, step.parent)
            kept = open_reader(stack.enter_context(ZipSource(path, Limits())))
            sources.append(recall(kept, start.catalogue, replayed, _never))
        teacher = None
        if start.old:
            began = time.monotonic()
            old, classes = start.old.model, len(start.catalogue)
            teacher = sureness(old, classes, cache, size, start.settings.for_method())
            aside = time.monotonic() - began
        learned = learn(start, cache, replayed, job.work, fingerprint_of(job), emit, _never)
        count = len(replayed)
        if run.variant.memory:
            known = start.catalogue.foreground
            keep(folder / MEMORY, sources, known, run.variant.memory, run.seed)
    return {"replayed_pictures": count, "teacher": teacher, "aside": aside}, learned


def _job(run: Sequence, step: Step, folder: Path, threads: int) -> StepJob:
    old = Catalogue.empty()
    if step.parent:
        record = read_version_config((step.parent / "version" / CONFIG).read_bytes())
        old = old.grow([c["name"] for c in record["classes"][1:]])
    first = len(old)
    chosen: dict[str, Any] = {"method": "joint" if run.variant.method == JOINT else "finetune"}
    if step.parent:
        chosen = {
            "method": run.variant.method,
            "method_settings": dict(run.variant.options),
            "memory": run.variant.memory,
            "fusion": run.variant.fusion,
        }
    chosen = {"seed": run.seed} | chosen | step.settings
    return StepJob(
        dataset=run.data,
        old_version=step.parent / "version" if step.parent else None,
        new_classes=step.classes,
        indices=tuple(range(first, first + len(step.classes))),
        settings=PRESETS[run.preset].settings(run.dataset, step.parent is None, **chosen),
        held_out=HeldOutChoice(split="val"),
        earlier=(),
        limits=Limits(),
        backbone_dir=run.backbone_dir,
        threads=threads,
        work=folder / "work",
        result=folder,
    )


def _memory_of(run: Sequence, bench: Bench, parent: Path) -> Path:
    """Return the parent's memory; the base step, which all variants share, keeps its own here."""
    if (parent / MEMORY).exists():
        return parent / MEMORY
    path = run.folder / "base-memory.zip"
    pictures = bench.pictures(0)
    base = bench.steps[0]
    shown = [set(base) & set(bench.shown[picture]) for picture in pictures]
    keep(path, [Keepable(bench.reader, pictures, shown, base)], base, run.variant.memory, run.seed)
    return path


def _scored(start: Start, bench: Bench) -> Scores:
    introduced = start.old.scores.introduced if start.old else {}
    held_out = HeldOut(bench.reader, bench.validation, start.catalogue.foreground)
    size = start.settings.size
    return score(start.model, size, start.catalogue, introduced, [held_out], lambda: None).scores


def _save(folder: Path, start: Start, bench: Bench, scores: Scores, learned: Learned) -> None:
    model = start.model.to("cpu")
    picture = bench.reader.picture(bench.validation[0])
    config = {
        "size": start.settings.size,
        "settings": start.settings.model_dump(),
        "backbone_start": start.backbone_start,
        "trained_pictures": 0,
        "parameters": sum(p.numel() for p in model.parameters()),
        "catalogue": [asdict(c) for c in start.catalogue.classes],
    }
    # A run that was killed behind this point takes the step's end again.
    shutil.rmtree(folder / "version", ignore_errors=True)
    probe, _ = model_input(picture, start.settings.size, model)
    export_version(
        folder / "version",
        model,
        start.catalogue,
        scores,
        None,
        config,
        [probe],
        learned.features,
        learned.curvature,
    )


def _never() -> bool:
    return False
