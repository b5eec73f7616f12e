"""Training what stands for some classes out of a model's features; resumable."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sats_core.classes import IGNORE
from sats_core.data.batches import LabelledPictures, StepBatches
from sats_core.data.cache import PictureCache
from sats_core.data.transforms import Pixels
from sats_core.evaluation.predict import labelled_input, predict
from sats_core.events import WarningEvent
from sats_core.method_settings import UnlearnSettings
from sats_core.methods.features import FeatureMemory
from sats_core.methods.sampling import ENOUGH, see
from sats_core.methods.unlearn import HELD, Unlearn, is_gone
from sats_core.models import GrowingClassifier, Segmenter
from sats_core.settings import StepSettings
from sats_core.training.at_hand import AtHand, spread
from sats_core.training.loop import StoppedError, train
from sats_core.training.made_up import made_up
from sats_core.training.progress import Emit
from sats_core.training.settle import settle

MOST_SHOWING = 300
"""Pictures of the classes that are looked at in an epoch."""
LEAST_BATCHES = 10
"""Of an epoch: few pictures come several times."""
PREPARED = 64
"""Pictures that background's look is taken from."""

LEAST_TO_REINITIALISE = 200
"""Pictures without what goes that a head is taught anew on: of few it learns too little."""
LEAST_EPOCHS_TO_REINITIALISE = 40
"""And passes: after 20 what stays had lost 0.03 mIoU and more (docs/decisions/0027)."""
HEAD_STAYS = (
    "the head is not taught anew, and more is left of what could be learned again: it takes "
    f"{LEAST_TO_REINITIALISE} pictures at hand that do not show what is retired, and "
    f"{LEAST_EPOCHS_TO_REINITIALISE} epochs"
)

SawPictures = Literal["posted", "kept", "noise"]


class Before(NamedTuple):
    """The version that classes are taken from, as its parts are needed.

    Attributes:
        model: in evaluation mode.
        size: longer side of what it sees, pixels.
        classes: names of all but the background, in channel order: the first is channel 1.
        gone: channels of those that go, ascending.
    """

    model: Segmenter
    size: int
    classes: tuple[str, ...]
    gone: tuple[int, ...]

    @property
    def classifier(self) -> GrowingClassifier:
        """The classifier with the rows that go."""
        return self.model.classifier

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes that go, in channel order."""
        return tuple(self.classes[channel - 1] for channel in self.gone)

    @property
    def values(self) -> dict[str, int]:
        """What each class that goes is in labels of `sats_core.methods.unlearn`: 1, 2, ..."""
        return {name: value for value, name in enumerate(self.names, start=1)}

    @property
    def labels(self) -> dict[str, int]:
        """What every class is in them, those that go first."""
        goes = self.values
        ordered = sorted(self.classes, key=lambda name: name not in goes)
        return {name: value for value, name in enumerate(ordered, start=1)}


@dataclass(frozen=True)
class Cached:
    """The pictures that unlearning looks at, on disk.

    Attributes:
        showing: of the classes that go.
        others: all else that is at hand; may be empty.
        saw: where `showing` came from.
    """

    showing: PictureCache
    others: PictureCache
    saw: SawPictures


def cached(
    stack: ExitStack,
    work: Path,
    before: Before,
    pictures: Sequence[AtHand],
    seed: int,
    check: Callable[[], None],
) -> Cached:
    """Fill caches with the pictures, labelled as `sats_core.methods.unlearn` reads them.

    Where none shows what goes, pictures are made up.

    Args:
        stack: that closes the caches.
        work: folder of their files.
        before: the version.
        pictures: that may be looked at.
        seed: of what is made up.
        check: called at every picture; what it raises ends it.

    Raises:
        DatasetError: a picture cannot be read.
    """
    showing = [one for one in pictures if one.shows]
    others = [one for one in pictures if not one.shows]
    caches = [
        stack.enter_context(PictureCache(work / f"{name}.raw", before.size))
        for name in ("showing", "others")
    ]
    for cache, found in zip(
        caches, (spread(showing, MOST_SHOWING), spread(others, ENOUGH)), strict=True
    ):
        for one in found:
            check()
            cache.add(*_marked(before, one))
    saw: SawPictures = "kept"
    if any(one.source.origin == "posted" for one in showing):
        saw = "posted"
    if not showing:
        saw = "noise"
        for picture, label in made_up(before.model, before.size, before.gone, seed, check):
            caches[0].add(picture, label)
    return Cached(caches[0], caches[1], saw)


def _marked(before: Before, one: AtHand) -> tuple[Pixels, Pixels]:
    """Return a picture and its label.

    Where it is labelled as nothing, and the model finds a class there that the picture is not
    labelled for, that is taken for the truth if the class stays; if it goes, nothing is known.
    """
    picture, label = one.read(before.labels)
    unlabelled = {n: v for n, v in before.labels.items() if n not in one.source.classes}
    if unlabelled:
        meant = np.full(before.classifier.channels, HELD, np.uint8)
        for name, value in unlabelled.items():
            channel = before.classes.index(name) + 1
            meant[channel] = IGNORE if channel in before.gone else value
        found = meant[predict(before.model, picture, before.size)]
        label = np.where(label == HELD, found, label).astype(np.uint8)
    return picture, label


def unlearned(
    before: Before,
    teacher: Segmenter,
    pictures: Cached,
    settings: StepSettings,
    weights: UnlearnSettings,
    work: Path,
    fingerprint: str,
    emit: Emit,
    should_stop: Callable[[], bool],
) -> Segmenter:
    """Return a copy of the teacher that is trained not to know what went.

    Args:
        before: the version.
        teacher: its model with the classes hidden; frozen.
        pictures: to look at.
        settings: of the training, filled in.
        weights: of the losses.
        work: folder of the checkpoint.
        fingerprint: of the job; a checkpoint of another one is not used.
        emit: where progress goes.
        should_stop: asked before every batch.

    Raises:
        StoppedError: `should_stop` said yes.
        DivergedError: a loss is not finite.
    """

    def check() -> None:
        if should_stop():
            raise StoppedError

    model = copy.deepcopy(teacher)
    reinitialised = _reinitialised(model, pictures, settings, emit)
    classifier = copy.deepcopy(before.classifier)
    method = Unlearn(model, teacher, classifier, before.gone, weights, updates_norms=reinitialised)
    method.prepare(_looks(model, before.size, pictures, PREPARED))
    own = settings.batch_size // 2 if len(pictures.others) else settings.batch_size
    showing = Repeated(pictures.showing, LEAST_BATCHES * own)
    batches = StepBatches(showing, before.size, settings.batch_size, settings.seed, pictures.others)
    train(model, method, batches, settings, work, fingerprint, emit, should_stop)

    def looks() -> Iterator[tuple[Tensor, Tensor]]:
        return _looks(model, before.size, pictures, ENOUGH)

    warning = settle(
        model.requires_grad_(True).eval(), teacher, len(before.gone), looks(), settings.seed, check
    )
    if warning:
        emit(WarningEvent(message=warning))
    return model


def _reinitialised(model: Segmenter, pictures: Cached, settings: StepSettings, emit: Emit) -> bool:
    """Start the head from random weights where it can be taught anew; return whether it was."""
    if pictures.saw == "noise":  # nothing real is at hand, which whoever made it up has told
        return False
    if (
        len(pictures.others) < LEAST_TO_REINITIALISE
        or settings.epochs < LEAST_EPOCHS_TO_REINITIALISE
    ):
        emit(WarningEvent(message=HEAD_STAYS))
        return False
    model.reinitialise_head(settings.seed)
    return True


class Repeated:
    """Pictures, as often as it takes to be as many as are wanted."""

    def __init__(self, pictures: LabelledPictures, least: int) -> None:
        self._pictures = pictures
        self._times = max(1, -(-least // len(pictures)))

    def __len__(self) -> int:
        return len(self._pictures) * self._times

    def __getitem__(self, index: int, /) -> tuple[Pixels, Pixels]:
        return self._pictures[index % len(self._pictures)]


def _looks(
    model: Segmenter, size: int, pictures: Cached, most: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures as evaluation sees them, half of them of each kind where there are both."""
    for cache in (pictures.others, pictures.showing):
        chosen = np.linspace(0, len(cache) - 1, min(len(cache), most // 2)).astype(int)
        for index in chosen.tolist():
            yield labelled_input(*cache[index], size, model)


@torch.no_grad()
def moved_along(
    memory: FeatureMemory,
    before: Before,
    after: Segmenter,
    pictures: Cached,
    seed: int,
    check: Callable[[], None],
) -> FeatureMemory:
    """Return features that the version before kept as the new one sees them.

    What cannot be seen again is moved as the pictures at hand were (`FeatureMemory.followed`).

    Args:
        memory: without what goes.
        before: the version.
        after: the new model.
        pictures: that it was trained on.
        seed: of the draw of pixels.
        check: called at every picture; what it raises ends it.
    """

    def held() -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, labels in _looks(after, before.size, pictures, ENOUGH):
            check()
            unseen = is_gone(labels, len(before.gone)) | (labels == IGNORE)
            yield pixels, torch.where(unseen, IGNORE, HELD)

    seen = see(after, before.model, held(), max(len(memory.labels), 100), seed)
    if seen is None:
        return memory
    device = memory.labels.device
    return memory.on(seen.after.features.device).followed(*seen).on(device)
