"""Reading every posted picture once: which are held out, what is wrong, what is trained on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sats_core.classes import IGNORE, Catalogue
from sats_core.data.cache import PictureCache
from sats_core.data.duplicates import thumbnail
from sats_core.data.labels import step_lookup
from sats_core.data.pictures import Pixels
from sats_core.data.readers import Reader
from sats_core.errors import DatasetError, Issue
from sats_core.events import ProgressEvent, WarningEvent
from sats_core.job import StepJob
from sats_core.training.loop import StoppedError
from sats_core.training.progress import Emit, Progress
from sats_core.training.splitting import choose_split

MOST_ISSUES = 1000
"""Bad files that are named one by one; a data set with more is wrong in some larger way."""


@dataclass(frozen=True)
class Gathered:
    """What the step's pictures turned out to be.

    Attributes:
        train: ids of the pictures in the cache, in its order.
        held_out: ids of those that only score.
        shown: of each training picture, the step's classes that it shows.
        unshown: new classes that no training picture shows, in the job's order.
        shares: how much of the training pictures each new class covers.
        thumbnails: of the training pictures and of the held-out ones behind them.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    shown: tuple[frozenset[str], ...]
    unshown: tuple[str, ...]
    shares: "Shares"
    thumbnails: tuple[Pixels, ...]


class Shares:
    """How much of the labelled pixels each class covers; summed up picture by picture."""

    def __init__(self, channels: Mapping[str, int]) -> None:
        """Begin with no picture; `channels` says which value of a label is which class."""
        self._places = {name: place for place, name in enumerate(channels)}
        self._values = list(channels.values())
        self._labelled = 0
        self._own, self._shown, self._parts = np.zeros((3, len(channels)))

    def add(self, label: Pixels) -> None:
        """Count one picture's label (H, W) uint8; 255 is ignored."""
        counts = np.bincount(label.ravel(), minlength=IGNORE + 1)
        own, labelled = counts[self._values], int(counts[:IGNORE].sum())
        self._labelled += labelled
        self._own += own
        self._shown += own > 0
        self._parts += own / max(1, labelled)

    def of(self, name: str) -> tuple[float, float]:
        """Return a class's share of all labelled pixels, and of a picture that shows it."""
        place = self._places[name]
        share = self._own[place] / max(1, self._labelled)
        return float(share), float(self._parts[place] / max(1, self._shown[place]))


def gather(
    reader: Reader,
    job: StepJob,
    catalogue: Catalogue,
    cache: PictureCache,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> Gathered:
    """Check every picture and fill the cache with those that are trained on.

    Labels in the cache are the step's: output channels of the new classes, 0 elsewhere, 255.

    Raises:
        DatasetError: naming every file that is wrong, and every new class without a picture where
            the task names its classes or none has any.
        StoppedError: `should_stop` said yes.
    """
    split = choose_split(reader, job.held_out, job.settings.seed)
    for name, missing in reader.missing.items():
        emit(
            WarningEvent(
                message=f"the split {name!r} names {len(missing)} pictures that are not there, or "
                f"have no mask, {missing[0][:100]!r} for one: they are left out"
            )
        )
    for message in (*reader.warnings, *split.warnings):
        emit(WarningEvent(message=message))
    channels = {name: catalogue.channel(name) for name in job.new_classes}
    lookup = step_lookup(reader.classes, channels)
    issues: list[Issue] = []
    shown: list[frozenset[str]] = []
    shares = Shares(channels)
    thumbnails: list[Pixels] = []
    held_out: set[str] = set()
    todo = len(split.train) + len(split.held_out)
    progress = Progress(emit, ProgressEvent(phase="validating", step=0, steps=todo), todo)
    for number, picture_id in enumerate((*split.train, *split.held_out), start=1):
        if should_stop():
            raise StoppedError
        try:
            picture = reader.read(picture_id)
        except DatasetError as error:
            issues.extend(error.issues)
            continue
        shows = channels.keys() & reader.shown(picture.label)
        thumbnails.append(thumbnail(picture.picture))
        if number <= len(split.train):
            label = lookup[picture.label]
            cache.add(picture.picture, label)
            shares.add(label)
            shown.append(frozenset(shows))
        else:
            held_out |= shows
        progress.advance(1, step=number)
    refuse(issues)
    unshown = tuple(name for name in channels if not any(name in shows for shows in shown))
    if job.named or len(unshown) == len(channels):
        _refuse_unshown(unshown)
    for name in unshown:
        emit(WarningEvent(message=f"no training picture shows {name!r}: it is not learned"))
    for name in channels:
        if name not in held_out and name not in unshown:
            emit(WarningEvent(message=f"no held-out picture shows {name!r}: it is not scored"))
    return Gathered(split.train, split.held_out, tuple(shown), unshown, shares, tuple(thumbnails))


def refuse(issues: Sequence[Issue]) -> None:
    """Do nothing where there are no issues.

    Raises:
        DatasetError: naming the files at fault, the first thousand of them.
    """
    if not issues:
        return
    more = len(issues) - MOST_ISSUES
    tail = f", {more} of them not named" if more > 0 else ""
    count = f"{len(issues)} file{'s' if len(issues) > 1 else ''}"
    raise DatasetError(f"{count} of the data set cannot be used{tail}", issues[:MOST_ISSUES])


def _refuse_unshown(missing: Sequence[str]) -> None:
    if missing:
        raise DatasetError(
            f"no training picture shows {', '.join(missing)}",
            [
                Issue("no training picture shows this class", class_name=name, code="missing")
                for name in missing
            ],
        )
