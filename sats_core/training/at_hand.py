"""The labelled pictures that a retirement has at hand, and which of them prove what came of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sats_core.classes import Catalogue
from sats_core.data.labels import step_lookup
from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.data.transforms import Pixels
from sats_core.errors import DatasetError, Issue
from sats_core.events import ProgressEvent, WarningEvent
from sats_core.retirement import RetireJob
from sats_core.training.loop import StoppedError
from sats_core.training.pictures import refuse
from sats_core.training.progress import Emit, Progress

Origin = Literal["posted", "memory", "held_out"]
LEAST_PROOF = 2
"""Pictures of a class that it takes to teach a row on some and score it on others."""


@dataclass(frozen=True)
class Source:
    """Pictures of one zip.

    Attributes:
        reader: of the pictures.
        classes: what they are labelled for, of what the version knows.
        origin: posted with the task; trained on and kept; held out of training and kept.
        version: number of the version that they were held out with, where there is one to tell.
    """

    reader: Reader
    classes: tuple[str, ...]
    origin: Origin
    version: int | None = None


@dataclass(frozen=True)
class AtHand:
    """One labelled picture.

    Attributes:
        source: that it is of.
        id: there.
        shows: the classes that go which its label shows.
        proves: whether the retirement must not look at it, so that it can tell what came of it.
    """

    source: Source
    id: str
    shows: frozenset[str]
    proves: bool = False

    def read(self, values: Mapping[str, int]) -> tuple[Pixels, Pixels]:
        """Return the picture (H, W, 3) and its label (H, W).

        Args:
            values: of classes in the label; 0 is everything else, 255 ignored.

        Raises:
            DatasetError: it cannot be read.
        """
        read = self.source.reader.read(self.id)
        known = {name: value for name, value in values.items() if name in self.source.classes}
        return read.picture, step_lookup(self.source.reader.classes, known)[read.label]


def open_sources(
    stack: ExitStack, job: RetireJob, catalogue: Catalogue, emit: Emit
) -> list[Source]:
    """Open everything that the job names.

    Raises:
        DatasetError: a zip cannot be read, or the version knows no class of the posted one.
    """
    stored = job.limits.of_stored()
    sources = []
    if job.dataset:
        reader = open_reader(stack.enter_context(ZipSource(job.dataset, job.limits)))
        sources.append(Source(reader, _known(reader, catalogue, emit), "posted"))
    if job.memory:
        reader = open_reader(stack.enter_context(ZipSource(job.memory, stored)))
        sources.append(Source(reader, reader.classes, "memory"))
    for held_out in job.earlier:
        reader = open_reader(stack.enter_context(ZipSource(held_out.path, stored)))
        sources.append(Source(reader, held_out.classes, "held_out", held_out.version))
    return sources


def _known(reader: Reader, catalogue: Catalogue, emit: Emit) -> tuple[str, ...]:
    known = tuple(name for name in reader.classes if name in catalogue.foreground)
    unknown = [name for name in reader.classes if name not in known]
    if not known:
        raise DatasetError(
            f"the posted pictures have no class that the model knows: {', '.join(unknown[:20])}",
            [
                Issue("the model does not know this class", class_name=name, code="unknown")
                for name in unknown
            ],
        )
    if unknown:
        named = f"{', '.join(unknown[:20])}{', ...' if len(unknown) > 20 else ''}"
        emit(WarningEvent(message=f"the model does not know {named}: taken for background"))
    for message in reader.warnings:
        emit(WarningEvent(message=message))
    return known


def look_through(
    sources: Sequence[Source],
    gone: Sequence[str],
    seed: int,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> list[AtHand]:
    """Return all pictures, with what they show; the posted ones are read whole.

    Raises:
        DatasetError: naming every posted file that is wrong, or a kept one that cannot be read.
        StoppedError: `should_stop` said yes.
    """
    todo = sum(len(source.reader.ids) for source in sources)
    progress = Progress(emit, ProgressEvent(phase="validating", step=0, steps=todo), todo)
    issues: list[Issue] = []
    found: list[AtHand] = []
    for number, (source, picture_id) in enumerate(_every(sources), start=1):
        if should_stop():
            raise StoppedError
        try:
            label = _label(source, picture_id)
        except DatasetError as error:
            if source.origin != "posted":
                raise
            issues.extend(error.issues)
            continue
        shown = set(source.reader.shown(label)) & set(source.classes) & set(gone)
        found.append(AtHand(source, picture_id, frozenset(shown)))
        progress.advance(1, step=number)
    refuse(issues)
    return parted(found, seed)


def _every(sources: Sequence[Source]) -> Iterator[tuple[Source, str]]:
    for source in sources:
        for picture_id in source.reader.ids:
            yield source, picture_id


def _label(source: Source, picture_id: str) -> Pixels:
    """Return a label; of what strangers posted, after picture and label were checked."""
    if source.origin == "posted":
        return source.reader.read(picture_id).label
    return source.reader.label(picture_id)


def parted(found: Sequence[AtHand], seed: int) -> list[AtHand]:
    """Set pictures aside that the retirement does not look at.

    Every second one of the held-out ones; where fewer than two of those show what goes, every
    second one of all others that do, too.

    Args:
        found: the pictures.
        seed: of the order that is counted in.
    """
    held_out = [place for place, one in enumerate(found) if one.source.origin == "held_out"]
    aside = _every_second(held_out, seed)
    if sum(bool(found[place].shows) for place in aside) < LEAST_PROOF:
        others = [place for place, one in enumerate(found) if one.shows and place not in aside]
        aside |= _every_second(others, seed)
    return [
        AtHand(one.source, one.id, one.shows, proves=place in aside)
        for place, one in enumerate(found)
    ]


def _every_second(places: Sequence[int], seed: int) -> set[int]:
    order = np.random.default_rng(seed).permutation(len(places)).tolist()
    return {places[turn] for turn in order[::2]}


def spread(found: Sequence[AtHand], most: int) -> list[AtHand]:
    """Return at most so many pictures, spread evenly over all."""
    chosen = np.linspace(0, len(found) - 1, min(len(found), most)).astype(int)
    return [found[place] for place in chosen.tolist()]
