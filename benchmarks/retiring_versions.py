"""The versions that a class is taken from, and those that never saw it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import typer

from sats_core.data.labels import step_lookup
from sats_core.data.readers import EncodedPicture, Reader, write_voc_zip
from sats_core.events import Event, ProgressEvent
from sats_core.job import HeldOutChoice, StepJob
from sats_core.settings import Limits, StepSettings
from sats_core.training.step import run_step


@dataclass(frozen=True)
class Bench:
    """What all runs share.

    Attributes:
        reader: of the data set.
        classes: that the version learns.
        gone: the one that is taken away.
        settings: of the base steps.
        backbone_dir: where their pretrained weights lie; None: they start from random ones.
        unlearning: of the retirement.
        most: pictures of a base step.
        posted: pictures that come with the retirement; the version never saw them.
        out: where versions stay.
    """

    reader: Reader
    classes: tuple[str, ...]
    gone: str
    settings: StepSettings
    backbone_dir: Path | None
    unlearning: StepSettings
    most: int
    posted: int
    out: Path

    @property
    def stays(self) -> tuple[str, ...]:
        """The classes that are left."""
        return tuple(name for name in self.classes if name != self.gone)


def base(bench: Bench, name: str, classes: Sequence[str], avoided: Collection[str]) -> Path:
    """Return the folder of a base step's results; it is trained where it is not there yet.

    Args:
        bench: what all runs share.
        name: of the folder.
        classes: that it learns.
        avoided: what none of its pictures may show.
    """
    folder = bench.out / name
    if not (folder / "result.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        dataset = folder / "posted.zip"
        write_voc_zip(dataset, islice(_shown(bench, classes, avoided), bench.most), classes)
        job = StepJob(
            dataset=dataset,
            old_version=None,
            new_classes=tuple(classes),
            indices=tuple(range(1, len(classes) + 1)),
            settings=bench.settings,
            held_out=HeldOutChoice(),
            earlier=(),
            limits=Limits(),
            backbone_dir=bench.backbone_dir,
            threads=torch.get_num_threads(),
            work=folder / "work",
            result=folder,
        )
        run_step(job, training_told(name), never)
    return folder


def _shown(
    bench: Bench, classes: Sequence[str], avoided: Collection[str]
) -> Iterator[EncodedPicture]:
    """Yield training pictures that show some of the classes, with their labels alone."""
    reader = bench.reader
    lookup = step_lookup(reader.classes, {name: i for i, name in enumerate(classes, start=1)})
    for picture_id in sorted(reader.splits["train"]):
        encoded = reader.encoded(picture_id)
        shows = set(reader.shown(encoded.label))
        if shows & set(classes) and not shows & set(avoided):
            label = lookup[encoded.label]
            yield EncodedPicture(encoded.id, encoded.suffix, encoded.data, label)


def fresh(bench: Bench) -> Path | None:
    """Return a zip of pictures that the version never saw, labelled for all its classes."""
    path = bench.out / "fresh.zip"
    if bench.posted and not path.exists():
        more = islice(_shown(bench, bench.classes, ()), bench.most, bench.most + bench.posted)
        write_voc_zip(path, more, bench.classes)
    return path if bench.posted else None


def training_told(name: str) -> Any:
    """Return what prints the loss terms of each epoch."""

    def emit(event: Event) -> None:
        if isinstance(event, ProgressEvent) and event.epoch_end:
            losses = ", ".join(f"{term} {value:.3g}" for term, value in event.losses.items())
            typer.echo(f"{name}: epoch {event.epoch} of {event.epochs}: {losses}")

    return emit


def never() -> bool:
    """Say that nobody asks to stop."""
    return False
