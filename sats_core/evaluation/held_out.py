"""Scoring a model on held-out pictures of its step and of the steps before."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sats_core.classes import Catalogue
from sats_core.data.labels import labelled_lookup, step_lookup
from sats_core.data.prediction import best_channels
from sats_core.data.readers import Reader, reading_order
from sats_core.data.transforms import Pixels
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.picture_scores import PictureScores, SetScores
from sats_core.evaluation.predict import model_input, prediction_of
from sats_core.evaluation.scores import Confusion, Scores, scores_of
from sats_core.models import Output, Segmenter


@dataclass(frozen=True)
class HeldOut:
    """Held-out pictures of one step.

    Attributes:
        reader: of the pictures.
        ids: which of them.
        classes: what they are labelled for; of other classes they say nothing.
        compared: whether copies of them among training pictures are counted.
        version: number of the version that they came with; None: of the one that is scored.
    """

    reader: Reader
    ids: Sequence[str]
    classes: Sequence[str]
    compared: bool = True
    version: int | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """One held-out picture, and what models see of it.

    Attributes:
        held_out: the set that it is of.
        position: among the set's pictures.
        label: (H, W) uint8 channels: those that the set is labelled for, 0 elsewhere, 255 ignored.
        channels: that the set is labelled for.
        pixels: (1, 3, h', w'), what the models are shown.
        shown: the (h, w) of them that are picture.
        outputs: of the model that is scored, then of the one before where there is one.
    """

    held_out: HeldOut
    position: int
    label: Pixels
    channels: tuple[int, ...]
    pixels: Tensor
    shown: tuple[int, int]
    outputs: tuple[Output, ...]

    def predictions(self) -> list[Pixels]:
        """Return the channel of every pixel, (H, W), as each of the models has it.

        Raises:
            ModelError: a logit is not finite.
        """
        height, width = self.label.shape
        found = (prediction_of(seen.logits, self.pixels, self.shown) for seen in self.outputs)
        return [best_channels(each, height, width) for each in found]


@dataclass(frozen=True)
class Scored:
    """What held-out pictures say of a model.

    Attributes:
        scores: IoU and what is read from it.
        confusion: what pixels of each class are taken for; None where there is no picture.
        pictures: IoU of every single picture.
    """

    scores: Scores
    confusion: Confusion | None
    pictures: PictureScores


def score(
    model: Segmenter,
    size: int,
    catalogue: Catalogue,
    introduced: Mapping[str, float | None],
    sets: Sequence[HeldOut],
    seen: Callable[[], None],
    old: Segmenter | None = None,
    brought: Collection[str] | None = None,
    watch: Callable[[Look], None] | None = None,
) -> Scored:
    """Score a model; it is left in evaluation mode.

    Args:
        model: to score.
        size: longer side of what it sees, pixels.
        catalogue: its classes.
        introduced: `Scores.introduced` of the version before; empty for a base step.
        sets: held-out pictures, each with the classes that it is labelled for.
        seen: called after each picture.
        old: the model before, whose channels come first in the catalogue and which sees pictures
            as the model does; what it takes classes for is counted beside. It is left in
            evaluation mode too.
        brought: classes that the version brings; by default those of the catalogue's last step.
        watch: shown each picture, so that nothing else need read it and run the models again.

    Raises:
        DatasetError: a picture cannot be read.
        ModelError: a logit is not finite.
    """
    models = [model.eval(), *([old.eval()] if old is not None else [])]
    new = catalogue.newest if brought is None else tuple(brought)
    tally = _Tally(len(catalogue), len(models))
    each_set = []
    for held_out in sets:
        channels = {name: catalogue.channel(name) for name in held_out.classes}
        matrix = tally.earlier if set(new).isdisjoint(channels) else tally.own
        overlaps = {}
        for look in _looks(models, size, held_out, channels):
            overlaps[held_out.ids[look.position]] = tally.add(look, matrix)
            if watch is not None:
                watch(look)
            seen()
        iou = tuple(overlaps[picture_id] for picture_id in reading_order(overlaps))
        each_set.append(SetScores(version=held_out.version, classes=tuple(channels), iou=iou))
    both = tally.own + tally.earlier
    scores = scores_of(both, catalogue, introduced, tally.pictures, tally.earlier, new)
    confusion = _confusion(catalogue, tally.taken, tally.pictures)
    return Scored(scores, confusion, PictureScores(sets=tuple(each_set)))


def _looks(
    models: Sequence[Segmenter], size: int, held_out: HeldOut, channels: Mapping[str, int]
) -> Iterator[Look]:
    truth = step_lookup(held_out.reader.classes, channels)
    for position, picture_id in enumerate(held_out.ids):
        read = held_out.reader.read(picture_id)
        pixels, shown = model_input(read.picture, size, models[0])
        label, outputs = truth[read.label], _observed(models, pixels)
        yield Look(held_out, position, label, tuple(channels.values()), pixels, shown, outputs)


@torch.no_grad()
def _observed(models: Sequence[Segmenter], pixels: Tensor) -> tuple[Output, ...]:
    return tuple(model.observe(pixels) for model in models)


class _Tally:
    """Pixels by true and predicted class.

    Attributes:
        own, earlier: of sets that are labelled for what the version brings, and of the others.
        taken: of all sets, what is not labelled taken as it is; one for each model.
        pictures: how many were counted.
    """

    def __init__(self, channels: int, models: int) -> None:
        self.own, self.earlier = ConfusionMatrix(channels), ConfusionMatrix(channels)
        self.taken = [ConfusionMatrix(channels) for _ in range(models)]
        self.pictures = 0

    def add(self, look: Look, matrix: ConfusionMatrix) -> tuple[float | None, ...]:
        """Count a picture, by `matrix` among others; return its IoU of each labelled class."""
        answer = labelled_lookup(look.channels)
        predictions = look.predictions()
        alone = ConfusionMatrix(len(matrix.counts))
        alone.add(look.label, answer[predictions[0]])
        matrix.counts += alone.counts
        for counted, prediction in zip(self.taken, predictions, strict=True):
            counted.add_as_is(look.label, prediction, answer)
        self.pictures += 1
        return alone.overlaps(look.channels)


def _confusion(
    catalogue: Catalogue, taken: Sequence[ConfusionMatrix], pictures: int
) -> Confusion | None:
    if not pictures:
        return None
    now, *before = (matrix.rows() for matrix in taken)
    return Confusion(
        classes=catalogue.names,
        pixels=now,
        before=before[0] if before else None,
        pictures=pictures,
    )
