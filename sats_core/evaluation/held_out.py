"""Scoring a model on held-out pictures of its step and of the steps before."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
from sats_core.models import Segmenter


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


class Answer(NamedTuple):
    """What a model says of one picture.

    Attributes:
        logits: (1, C, h'', w'').
        stages: output of each of the backbone's stages, (1, C_s, h_s, w_s).
    """

    logits: Tensor
    stages: list[Tensor]


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
        answers: of the model that is scored, then of the one before where there is one.
    """

    held_out: HeldOut
    position: int
    label: Pixels
    channels: tuple[int, ...]
    pixels: Tensor
    shown: tuple[int, int]
    answers: tuple[Answer, ...]

    def predictions(self) -> list[Pixels]:
        """Return the channel of every pixel, (H, W), as each of the models has it.

        Raises:
            ModelError: a logit is not finite.
        """
        height, width = self.label.shape
        found = (prediction_of(said.logits, self.pixels, self.shown) for said in self.answers)
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
    at_once: int = 1,
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
        at_once: most pictures that the models are shown together.

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
        for look in _looks(models, size, held_out, channels, at_once):
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


class _Shown(NamedTuple):
    """A picture as models are shown it; as in `Look`, its label as it was read."""

    position: int
    label: Pixels
    pixels: Tensor
    shown: tuple[int, int]


def _looks(
    models: Sequence[Segmenter],
    size: int,
    held_out: HeldOut,
    channels: Mapping[str, int],
    at_once: int,
) -> Iterator[Look]:
    truth, labelled = step_lookup(held_out.reader.classes, channels), tuple(channels.values())
    for batch in _batches(held_out, size, models[0], at_once):
        pixels = torch.cat([one.pixels for one in batch])
        answers = zip(*(_answers(model, pixels) for model in models), strict=True)
        for one, said in zip(batch, answers, strict=True):
            label = truth[one.label]
            yield Look(held_out, one.position, label, labelled, one.pixels, one.shown, said)


def _batches(
    held_out: HeldOut, size: int, model: Segmenter, at_once: int
) -> Iterator[list[_Shown]]:
    """Read pictures in order; those beside each other that are seen at one size come together."""
    batch: list[_Shown] = []
    for position, picture_id in enumerate(held_out.ids):
        read = held_out.reader.read(picture_id)
        one = _Shown(position, read.label, *model_input(read.picture, size, model))
        if batch and (len(batch) == at_once or batch[0].pixels.shape != one.pixels.shape):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


@torch.no_grad()
def _answers(model: Segmenter, pixels: Tensor) -> list[Answer]:
    """Return what a model says of each of several pictures (B, 3, h', w')."""
    logits, stages = model.stages(pixels)
    each = zip(logits.split(1), *(stage.split(1) for stage in stages), strict=True)
    return [Answer(first, others) for first, *others in each]


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
