"""One sequence of steps of a protocol, step by step through the learning core."""

import json
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.learning_plan import BASE, JOINT, PRESETS, Sequence, Variant
from benchmarks.machine import commit, hardware, peak, reset_peak
from sats_core.classes import Catalogue
from sats_core.data.cache import PictureCache
from sats_core.data.protocols import PROTOCOLS, Setting, step_pictures
from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import DirectorySource, ZipSource
from sats_core.evaluation.held_out import HeldOut, score
from sats_core.evaluation.predict import model_input
from sats_core.evaluation.scores import Scores
from sats_core.events import Event
from sats_core.export import CONFIG, export_version
from sats_core.heap import keep_freed_memory
from sats_core.job import HeldOutChoice, StepJob
from sats_core.settings import Limits
from sats_core.training.learn import fingerprint_of, learn
from sats_core.training.memory import MEMORY, Keepable, keep, recall
from sats_core.training.pictures import gather
from sats_core.training.start import Start, begin
from sats_core.version_config import read_version_config

PROBES = 8
"""Validation pictures on which a version's exported graph is checked."""


class Bench:
    """A data set as a protocol sees it: which pictures train in which step, which validate."""

    def __init__(self, run: Sequence, reader: Reader) -> None:
        self.reader = reader
        self.steps = PROTOCOLS[run.protocol].steps(reader.classes)
        train = sorted(reader.splits["train"])
        if run.tuning:
            order = np.random.default_rng(20).permutation(len(train)).tolist()
            fold = set(order[: len(train) // 5])
            self.validation = tuple(train[i] for i in sorted(fold))
            train = [picture for i, picture in enumerate(train) if i not in fold]
        else:
            self.validation = tuple(reader.splits["val"])
        self.shown: dict[str, Collection[str]] = {i: reader.shown(reader.label(i)) for i in train}
        self.setting: Setting = run.setting

    def pictures(self, number: int) -> tuple[str, ...]:
        """Return the training pictures of a step."""
        return step_pictures(self.shown, self.steps, number, self.setting)

    def everything(self) -> tuple[str, ...]:
        """Return the training pictures of all steps together."""
        known = {name for step in self.steps for name in step}
        return tuple(i for i, names in self.shown.items() if known & set(names))


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
        if run.variant.method in (BASE, JOINT):
            classes = bench.steps[0] if run.variant.method == BASE else sum(bench.steps, ())
            pictures = bench.pictures(0) if run.variant.method == BASE else bench.everything()
            _take(run, bench, 0, None, classes, pictures, threads, lambda e: emit(0, e))
            return
        parent = replace(run, variant=Variant(BASE)).folder / "step0"
        for number in range(1, (run.until or len(bench.steps) - 1) + 1):
            _take(
                run,
                bench,
                number,
                parent,
                bench.steps[number],
                bench.pictures(number),
                threads,
                lambda e, n=number: emit(n, e),  # type: ignore[misc]
            )
            parent = run.folder / f"step{number}"


def _take(
    run: Sequence,
    bench: Bench,
    number: int,
    parent: Path | None,
    classes: tuple[str, ...],
    pictures: tuple[str, ...],
    threads: int,
    emit: Callable[[Event], None],
) -> None:
    folder = run.folder / f"step{number}"
    if (folder / "step.json").exists():
        return
    (folder / "work").mkdir(parents=True, exist_ok=True)
    job = _job(run, parent, classes, folder, threads)
    bench.reader.splits = {"train": pictures, "val": bench.validation[:PROBES]}
    reset_peak()
    began = time.monotonic()
    start = begin(job)
    with ExitStack() as stack:
        size = start.settings.size
        cache = stack.enter_context(PictureCache(folder / "work" / "pictures.raw", size))
        replayed = stack.enter_context(PictureCache(folder / "work" / "memory.raw", size))
        gathered = gather(bench.reader, job, start.catalogue, cache, emit, _never)
        sources = [Keepable(bench.reader, gathered.train, gathered.shown, classes)]
        if run.variant.memory and parent:
            path = _memory_of(run, bench, parent)
            kept = open_reader(stack.enter_context(ZipSource(path, Limits())))
            sources.append(recall(kept, start.catalogue, replayed, _never))
        learn(start, cache, replayed, folder / "work", fingerprint_of(job), emit, _never)
        trained = time.monotonic() - began
        most = peak()
        if run.variant.memory:
            known = start.catalogue.foreground
            keep(folder / MEMORY, sources, known, run.variant.memory, run.seed)
    scores = _scored(start, bench)
    _save(folder, start, bench, scores)
    record = {
        "step": number,
        "classes": list(classes),
        "trained_pictures": len(pictures),
        "replayed_pictures": len(replayed),
        "seconds": trained,
        "seconds_with_scoring": time.monotonic() - began,
        "peak_mib": most,
        "iou": scores.iou,
        "introduced": scores.introduced,
        "settings": start.settings.model_dump(),
        "backbone_start": start.backbone_start,
        "commit": commit(),
        "hardware": hardware("cuda" if torch.cuda.is_available() else "cpu"),
        "threads": threads,
    }
    for scratch in (folder / "work").iterdir():
        scratch.unlink()
    partial = folder / "step.json.partial"
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(folder / "step.json")


def _job(
    run: Sequence,
    parent: Path | None,
    classes: tuple[str, ...],
    folder: Path,
    threads: int,
) -> StepJob:
    old = Catalogue.empty()
    if parent:
        record = read_version_config((parent / "version" / CONFIG).read_bytes())
        old = old.grow([c["name"] for c in record["classes"][1:]])
    first = len(old)
    method: dict[str, Any] = {"method": "joint" if run.variant.method == JOINT else "finetune"}
    if parent:
        method = {
            "method": run.variant.method,
            "method_settings": dict(run.variant.weights),
            "memory": run.variant.memory,
            "fusion": run.variant.fusion,
        }
    return StepJob(
        dataset=run.data,
        old_version=parent / "version" if parent else None,
        new_classes=classes,
        indices=tuple(range(first, first + len(classes))),
        settings=PRESETS[run.preset].settings(run.dataset, parent is None, seed=run.seed, **method),
        held_out=HeldOutChoice(split="val"),
        earlier=(),
        limits=Limits(),
        backbone_dir=None,
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
    return score(start.model, size, start.catalogue, introduced, [held_out], lambda: None)


def _save(folder: Path, start: Start, bench: Bench, scores: Scores) -> None:
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
    export_version(folder / "version", model, start.catalogue, scores, None, config, [probe])


def _never() -> bool:
    return False
